"""Whatever a customer does, in whatever order and how much of it at once: the database stays within its plan."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.catalogue.batch import BATCH, MemoryBatch
from engine.catalogue.embedding import PENDING, STORE, EmbeddingsStore, PendingTexts
from engine.catalogue.history import EMPTY_TRASH, RESTORE, REVERT, EmptyTrash, MemoryRestore, MemoryRevert
from engine.catalogue.links import LINK, UNLINK, MemoryLink, MemoryUnlink
from engine.catalogue.memory import (
    CREATE,
    DELETE,
    GET,
    LIST,
    UPDATE,
    MemoryCreate,
    MemoryDelete,
    MemoryGet,
    MemoryList,
    MemoryUpdate,
)
from engine.catalogue.transfer import (
    IMPORT_BEGIN,
    IMPORT_COMMIT,
    IMPORT_END,
    IMPORT_STAGE,
    ImportBegin,
    ImportNamed,
    ImportStage,
)
from engine.protocol import Caller, Embedding, ErrorCode, Limits, Passage
from engine.store import statistics
from engine.store.database import Database
from engine.store.quota import reserve_bytes
from tests.engine.importing import entry
from tests.engine.turns import Answer, Turns

LIMIT = 450_000
"""An empty database has half of it."""

WORDS = ["harbour", "lighthouse", "printer", "office", "Kubernetes", "deploy", "größer", "猫が好き", "budget", "meeting"]

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).flatmap(
    lambda words: st.integers(1, 120).map(lambda times: " ".join(words * times))
)
maybe = st.booleans()


def vectors(passages: int) -> Embedding:
    return Embedding("a-model", [Passage(0, 1, bytes(1536)) for _ in range(passages)])


class OnePlan(RuleBasedStateMachine):
    """Rules put requests into a turn; ``turn`` runs it, and what holds is looked at after each."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.database = Database(Path(self._folder.name) / "memory.db")
        self.engine = Turns(self.database, caller=Caller(key_id="key_1", limits=Limits(storage_bytes=LIMIT)))
        self.waiting: list[Answer] = []
        self.deletions: list[Answer] = []
        self.only_stores = True
        self.keys = 0

    def teardown(self) -> None:
        self.database.close()
        self._folder.cleanup()

    @initialize()
    def fill(self) -> None:
        """Begin near the limit: that is where things happen."""
        while self.engine.call(CREATE, MemoryCreate(content="ballast " * 200)).code is None:
            pass

    def size(self) -> int:
        return statistics.storage_bytes(self.database.connection)

    def some(self, data: st.DataObject, *, in_trash: bool = False) -> int | None:
        """Return the id of some memory."""
        listed = self.engine.call(LIST, MemoryList(limit=100, in_trash=in_trash)).value.memories
        return data.draw(st.sampled_from([memory.id for memory in listed])) if listed else None

    def ask(self, operation: Any, arguments: Any, *, keyed: bool, **given: Any) -> Answer:
        self.keys += 1
        answer = self.engine.ask(operation, arguments, key=f"key {self.keys}" if keyed else "", **given)
        self.waiting.append(answer)
        self.only_stores &= not operation.frees
        return answer

    @rule(text=texts, keyed=maybe, passages=st.integers(0, 6))
    def create(self, text: str, keyed: bool, passages: int) -> None:
        embeddings = [vectors(passages)] if passages else None
        self.ask(CREATE, MemoryCreate(content=text, tags=["a/b"]), keyed=keyed, embeddings=embeddings)

    @rule(data=st.data(), text=texts, keyed=maybe)
    def update(self, data: st.DataObject, text: str, keyed: bool) -> None:
        if (memory_id := self.some(data)) is not None:
            self.ask(UPDATE, MemoryUpdate(id=memory_id, content=text), keyed=keyed)

    @rule(data=st.data(), keyed=maybe)
    def revert(self, data: st.DataObject, keyed: bool) -> None:
        if (memory_id := self.some(data)) is not None:
            self.ask(REVERT, MemoryRevert(id=memory_id, version=1), keyed=keyed)

    @rule(data=st.data(), keyed=maybe)
    def restore(self, data: st.DataObject, keyed: bool) -> None:
        if (memory_id := self.some(data, in_trash=True)) is not None:
            self.ask(RESTORE, MemoryRestore(id=memory_id), keyed=keyed)

    @rule(data=st.data(), keyed=maybe, unlink=maybe)
    def link(self, data: st.DataObject, keyed: bool, unlink: bool) -> None:
        ends = (self.some(data), self.some(data))
        if None not in ends:
            if unlink:
                self.ask(UNLINK, MemoryUnlink(from_id=ends[0] or 0, to_id=ends[1] or 0), keyed=keyed)
            else:
                linked = MemoryLink(from_id=ends[0] or 0, to_id=ends[1] or 0, source_context="because " * 50)
                self.ask(LINK, linked, keyed=keyed)

    @rule(data=st.data(), new=st.lists(texts, max_size=3), keyed=maybe, purge=maybe)
    def batch(self, data: st.DataObject, new: list[str], keyed: bool, purge: bool) -> None:
        memory_id = self.some(data)
        deleted = [] if memory_id is None else [memory_id]
        created = [MemoryCreate(content=text) for text in new]
        self.ask(BATCH, MemoryBatch(create=created, delete=deleted, purge=purge), keyed=keyed)

    @rule(new=st.lists(texts, min_size=1, max_size=4), given_up=maybe)
    def bring_in(self, new: list[str], given_up: bool) -> None:
        begun = self.engine.call(IMPORT_BEGIN, ImportBegin())
        if begun.value is None:
            assert begun.code == ErrorCode.QUOTA_EXCEEDED
            return
        import_id = begun.value.import_id
        entries = [entry(number, f"{number} {text}") for number, text in enumerate(new, 1000)]
        self.ask(IMPORT_STAGE, ImportStage(import_id=import_id, first=0, entries=entries), keyed=False)
        self.turn()
        self.ask(IMPORT_END if given_up else IMPORT_COMMIT, ImportNamed(import_id=import_id), keyed=False)

    @rule(passages=st.integers(1, 6))
    def embed(self, passages: int) -> None:
        pump = Turns(self.database, caller=Caller())
        pending = pump.call(PENDING, PendingTexts(model="a-model", limit=4)).value.texts
        arguments = EmbeddingsStore(texts=[(text.id, text.content_hash) for text in pending], model="a-model")
        before = self.size()
        pump.call(STORE, arguments, embeddings=[vectors(passages) for _ in pending])
        assert self.size() <= max(before, LIMIT)

    @rule(keyed=maybe)
    def empty_trash(self, keyed: bool) -> None:
        self.ask(EMPTY_TRASH, EmptyTrash(limit=5), keyed=keyed)

    @rule(data=st.data(), purge=maybe)
    def delete(self, data: st.DataObject, purge: bool) -> None:
        self.turn()  # what waits might have deleted the same
        if (memory_id := self.some(data)) is not None:
            self.deletions.append(self.ask(DELETE, MemoryDelete(id=memory_id, purge=purge), keyed=False))
            self.ask(GET, MemoryGet(id=memory_id), keyed=False)

    @rule()
    def turn(self) -> None:
        before = self.size()
        self.engine.turn()

        assert all(answer.code is None for answer in self.deletions)
        allowed = {None, ErrorCode.QUOTA_EXCEEDED, ErrorCode.NOT_FOUND, ErrorCode.INVALID}
        assert {answer.code for answer in self.waiting} <= allowed
        if self.only_stores:
            assert self.size() <= max(before, LIMIT)
        self.waiting, self.deletions, self.only_stores = [], [], True

    @invariant()
    def within_the_plan(self) -> None:
        assert self.size() <= LIMIT + reserve_bytes(LIMIT)


OnePlan.TestCase.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
TestOnePlan = OnePlan.TestCase
