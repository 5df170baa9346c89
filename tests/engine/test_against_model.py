"""The engine beside a model of it in plain Python: whatever is done to both, they answer alike.

The model keeps memories in a dict and copies them whole. Time is a number that a rule moves on.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from engine.catalogue.batch import MemoryBatch
from engine.catalogue.history import EmptyTrash, MemoryRestore, MemoryRevert, MemoryVersions
from engine.catalogue.memory import MemoryCreate, MemoryDelete, MemoryGet, MemoryList, MemoryUpdate, Scope
from engine.catalogue.search import MemorySearch
from engine.protocol import Caller, ErrorCode, Limits, RemoteError, Request
from engine.store import memories
from engine.store.database import Database
from engine.store.housekeeping import TRASH_SECONDS
from engine.tools import batch, history, memory, search

START = 1_790_000_000_000_000
SECOND = 1_000_000
PLAN = 12
REQUEST = Request(id=1, method="", caller=Caller(key_id="key_1", limits=Limits(memories=PLAN)))

WORDS = ("harbour", "walrus", "café", "node.js", "東京", "E4021")
CONTENTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
TAGS = st.lists(st.sampled_from(["a", "a/b", "c"]), max_size=3)
METADATA = st.dictionaries(st.sampled_from(["k", "l"]), st.integers(0, 3) | st.text(max_size=3), max_size=2)
SCOPES = st.sampled_from([Scope(), Scope("session", "s1")])
WORKSPACES = st.sampled_from(["default", "w"])
LIVES = st.sampled_from([("permanent", None), ("daily", None), ("daily", 1), ("daily", 30)])
DEDUPE = st.sampled_from(["allow", "allow", "reject", "skip", "merge"])


@dataclass
class Kept:
    """A memory of the model, and what it was."""

    content: str
    tags: list[str]
    metadata: dict[str, Any]
    importance: float
    workspace: str
    scope: Scope
    expires_at: int | None
    version: int = 1
    deleted_at: int | None = None
    past: dict[int, Kept] = field(default_factory=dict)

    def change(self, **values: Any) -> None:
        values = {name: value for name, value in values.items() if getattr(self, name) != value}
        if values:
            self.past[self.version] = Kept(**{**vars(self), "past": {}})
            vars(self).update(values)
            self.version += 1


class EngineAndModel(RuleBasedStateMachine):
    """Every rule does one thing to both. An error of the engine must be one the model expects, and change nothing."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="engram-model-"))
        self.moment = START
        self.database = Database(self.folder / "memory.db", clock=lambda: self.moment)
        self.model: dict[int, Kept] = {}

    def teardown(self) -> None:
        self.database.close()
        shutil.rmtree(self.folder)

    @initialize()
    def reopen_first(self) -> None:
        self.reopen()

    # what the model knows

    def alive(self, memory_id: int) -> bool:
        kept = self.model.get(memory_id)
        return kept is not None and (kept.expires_at is None or kept.expires_at > self.moment)

    def visible(self, memory_id: int) -> bool:
        return self.alive(memory_id) and self.model[memory_id].deleted_at is None

    def seen(self) -> dict[int, Kept]:
        return {memory_id: kept for memory_id, kept in self.model.items() if self.visible(memory_id)}

    def counted(self) -> int:
        return sum(self.alive(memory_id) for memory_id in self.model)

    def twin(self, wanted: MemoryCreate) -> int | None:
        same = " ".join(wanted.content.lower().split())
        for memory_id, kept in sorted(self.seen().items()):
            if (" ".join(kept.content.lower().split()), kept.workspace, kept.scope) == (same, wanted.workspace, wanted.scope):
                return memory_id
        return None

    def write(self, handler: Any, arguments: Any) -> Any:
        """Run a write as the dispatcher would; return its result or the code of its error."""
        self.tidy()
        with self.database.write_group():
            try:
                with self.database.savepoint():
                    return handler(self.database, arguments, REQUEST)
            except RemoteError as error:
                return error.code

    def tidy(self) -> None:
        """Forget what a write group erases before anything else."""
        for memory_id, kept in list(self.model.items()):
            trashed = kept.deleted_at is not None and kept.deleted_at <= self.moment - TRASH_SECONDS * SECOND
            if not self.alive(memory_id) or trashed:
                del self.model[memory_id]

    # rules

    @rule(
        target=ids,
        content=CONTENTS,
        tags=TAGS,
        metadata=METADATA,
        workspace=WORKSPACES,
        scope=SCOPES,
        life=LIVES,
        dedupe=DEDUPE,
        importance=st.sampled_from([0.0, 0.5, 1.0]),
    )
    def create(self, life: tuple[str, int | None], **fields: Any) -> Any:
        wanted = MemoryCreate(tier=life[0], ttl_seconds=life[1], **fields)
        twin = None if wanted.dedupe == "allow" else self.twin(wanted)
        answer = self.write(memory.create, wanted)
        if twin is not None and wanted.dedupe == "reject":
            assert answer == ErrorCode.DUPLICATE
            return multiple()
        if twin is not None:
            assert answer.id == twin
            if wanted.dedupe == "merge":
                kept = self.model[twin]
                kept.change(
                    tags=list(dict.fromkeys(kept.tags + wanted.tags)),
                    metadata=kept.metadata | wanted.metadata,
                    importance=max(kept.importance, wanted.importance),
                )
            return answer.id
        if self.counted() == PLAN:
            assert answer == ErrorCode.QUOTA_EXCEEDED
            return multiple()
        self.model[answer.id] = self.kept(wanted)
        return answer.id

    def kept(self, wanted: MemoryCreate) -> Kept:
        seconds = None if wanted.tier == "permanent" else wanted.ttl_seconds or 24 * 3600
        return Kept(
            content=wanted.content,
            tags=list(dict.fromkeys(wanted.tags)),
            metadata=wanted.metadata,
            importance=wanted.importance,
            workspace=wanted.workspace,
            scope=wanted.scope,
            expires_at=None if seconds is None else self.moment + seconds * SECOND,
        )

    @rule(memory_id=ids, changes=st.fixed_dictionaries({}, optional={"content": CONTENTS, "tags": TAGS, "metadata": METADATA}))
    def update(self, memory_id: int, changes: dict[str, Any]) -> None:
        answer = self.write(memory.update, MemoryUpdate(id=memory_id, **changes))
        if not self.visible(memory_id):
            assert answer == ErrorCode.NOT_FOUND
            return
        if "tags" in changes:
            changes["tags"] = list(dict.fromkeys(changes["tags"]))
        self.model[memory_id].change(**changes)
        assert answer.version == self.model[memory_id].version

    @rule(memory_id=ids, version=st.integers(0, 3))
    def update_of_a_version(self, memory_id: int, version: int) -> None:
        answer = self.write(memory.update, MemoryUpdate(id=memory_id, importance=0.25, if_version=version + 1))
        if not self.visible(memory_id):
            assert answer == ErrorCode.NOT_FOUND
        elif self.model[memory_id].version != version + 1:
            assert answer == ErrorCode.VERSION_MISMATCH
        else:
            self.model[memory_id].change(importance=0.25)

    @rule(memory_id=ids, purge=st.booleans())
    def delete(self, memory_id: int, purge: bool) -> None:
        answer = self.write(memory.delete, MemoryDelete(id=memory_id, purge=purge))
        if not (self.alive(memory_id) if purge else self.visible(memory_id)):
            assert answer == ErrorCode.NOT_FOUND
        elif purge:
            del self.model[memory_id]
        else:
            self.model[memory_id].deleted_at = self.moment

    @rule(memory_id=ids)
    def restore(self, memory_id: int) -> None:
        answer = self.write(history.restore, MemoryRestore(id=memory_id))
        if self.alive(memory_id) and self.model[memory_id].deleted_at is not None:
            self.model[memory_id].deleted_at = None
            assert answer.id == memory_id
        else:
            assert answer == ErrorCode.NOT_FOUND

    @rule(memory_id=ids, version=st.integers(1, 4))
    def revert(self, memory_id: int, version: int) -> None:
        answer = self.write(history.revert, MemoryRevert(id=memory_id, version=version))
        kept = self.model.get(memory_id)
        if kept is None or not self.visible(memory_id) or version not in {*kept.past, kept.version}:
            assert answer == ErrorCode.NOT_FOUND
        elif version != kept.version:
            old = kept.past[version]
            # A revert is a version of its own even where it changes nothing but the history.
            kept.past[kept.version] = Kept(**{**vars(kept), "past": {}})
            kept.content, kept.tags, kept.metadata, kept.importance = old.content, old.tags, old.metadata, old.importance
            kept.version += 1

    @rule(target=ids, contents=st.lists(CONTENTS, max_size=3), memory_id=ids, other=ids)
    def batch(self, contents: list[str], memory_id: int, other: int) -> Any:
        wanted = [MemoryCreate(content=content) for content in contents]
        change = MemoryUpdate(id=memory_id, importance=0.75)
        answer = self.write(batch.batch, MemoryBatch(create=wanted, update=[change], delete=[other]))
        if not (self.visible(memory_id) and self.visible(other)):
            assert answer == ErrorCode.NOT_FOUND
            return multiple()
        if self.counted() + len(contents) > PLAN:
            assert answer == ErrorCode.QUOTA_EXCEEDED
            return multiple()
        for one, arguments in zip(answer.created, wanted, strict=True):
            self.model[one.id] = self.kept(arguments)
        self.model[memory_id].change(importance=0.75)
        self.model[other].deleted_at = self.moment
        return multiple(*(one.id for one in answer.created))

    @rule()
    def empty_trash(self) -> None:
        trashed = [memory_id for memory_id, kept in self.model.items() if self.alive(memory_id) and kept.deleted_at is not None]
        emptied = self.write(history.empty_trash, EmptyTrash())
        while emptied.erased and emptied.remaining:  # a slow machine takes more than one call
            emptied = self.write(history.empty_trash, EmptyTrash())
        assert emptied.remaining == 0
        for memory_id in trashed:
            self.model.pop(memory_id, None)  # one whose thirty days are over was erased before

    @rule(seconds=st.sampled_from([1, 29, 3600, TRASH_SECONDS]))
    def time_passes(self, seconds: int) -> None:
        self.moment += seconds * SECOND

    @rule()
    def reopen(self) -> None:
        self.database.close()
        self.database = Database(self.folder / "memory.db", clock=lambda: self.moment)

    @rule(word=st.sampled_from(WORDS), workspace=st.none() | WORKSPACES)
    def find(self, word: str, workspace: str | None) -> None:
        arguments = MemorySearch(query=word, mode="keyword", workspace=workspace, limit=100)
        found = {hit.memory.id for hit in search.search(self.database, arguments, REQUEST).results if hit.memory is not None}
        expected = {
            memory_id
            for memory_id, kept in self.seen().items()
            if word in kept.content.split() and workspace in (None, kept.workspace)
        }
        assert expected <= found <= self.seen().keys()

    @rule(tag=st.sampled_from(["a", "a/b", "c"]), number=st.integers(0, 3))
    def select(self, tag: str, number: int) -> None:
        arguments = MemoryList(tags=[tag], filter={"NOT": {"metadata.k": {"eq": number}}}, limit=100)
        listed = {one.id for one in memory.list_page(self.database, arguments, REQUEST).memories}
        assert listed == {
            memory_id
            for memory_id, kept in self.seen().items()
            if any(own == tag or own.startswith(f"{tag}/") for own in kept.tags) and kept.metadata.get("k") != number
        }

    # what must hold after each step

    @invariant()
    def both_show_the_same(self) -> None:
        listed = memory.list_page(self.database, MemoryList(limit=100, sort_by="id", sort_order="asc"), REQUEST).memories
        assert [one.id for one in listed] == sorted(self.seen())
        for one in listed:
            kept = self.model[one.id]
            assert (one.content, one.tags, one.metadata, one.importance, one.version) == (
                kept.content,
                kept.tags,
                kept.metadata,
                kept.importance,
                kept.version,
            )
        assert memories.count(self.database.connection, self.moment) == self.counted()

    @invariant()
    def nothing_else_can_be_read(self) -> None:
        for memory_id in {*self.model, 1, 999} - self.seen().keys():
            with pytest.raises(RemoteError):
                memory.get(self.database, MemoryGet(id=memory_id), REQUEST)

    @invariant()
    def histories_are_whole(self) -> None:
        for memory_id, kept in self.seen().items():
            page = history.list_versions(self.database, MemoryVersions(id=memory_id, limit=100), REQUEST)
            states = {**kept.past, kept.version: kept}
            assert {one.version: (one.content, one.tags, one.metadata) for one in page.versions} == {
                number: (state.content, state.tags, state.metadata) for number, state in states.items()
            }
        orphans = "SELECT count(*) FROM memory_versions WHERE memory_id NOT IN (SELECT id FROM memories)"
        assert self.database.connection.execute(orphans).get == 0

    @invariant()
    def the_index_is_in_step(self) -> None:
        self.database.connection.execute("INSERT INTO memories_fts (memories_fts, rank) VALUES ('integrity-check', 1)")


TestEngineAndModel = EngineAndModel.TestCase
TestEngineAndModel.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
