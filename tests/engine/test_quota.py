"""A plan's storage: no way to get over it, and always a way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.catalogue.batch import BATCH, MemoryBatch
from engine.catalogue.embedding import STORE, EmbeddingsStore
from engine.catalogue.history import EMPTY_TRASH, RESTORE, EmptyTrash, MemoryRestore
from engine.catalogue.memory import (
    CREATE,
    DELETE,
    GET,
    UPDATE,
    MemoryCreate,
    MemoryDelete,
    MemoryGet,
    MemoryUpdate,
)
from engine.catalogue.transfer import IMPORT_BEGIN, ImportBegin
from engine.protocol import Caller, Embedding, ErrorCode, Limits, Passage, Request
from engine.store import memories, passages, statistics
from engine.store.database import Database
from engine.store.quota import reserve_bytes
from tests.engine.turns import Turns

LIMIT = 600_000


def limited(limit: int | None) -> Caller:
    return Caller(key_id="key_1", limits=Limits(storage_bytes=limit))


@pytest.fixture
def engine(database: Database) -> Turns:
    return Turns(database, caller=limited(LIMIT))


def size(database: Database) -> int:
    return statistics.storage_bytes(database.connection)


def fill(engine: Turns, text: str = "word ") -> list[int]:
    """Store memories until the plan has no room; return their ids."""
    ids: list[int] = []
    for repeated in (400, 40, 4):
        while (created := engine.call(CREATE, MemoryCreate(content=f"{len(ids)} {text * repeated}"))).code is None:
            ids.append(created.value.id)
        assert created.code == ErrorCode.QUOTA_EXCEEDED
    return ids


def vectors(number: int) -> Embedding:
    """Vectors of one text, so many passages of 384 dimensions."""
    return Embedding("a-model", [Passage(0, 1, bytes(1536)) for _ in range(number)])


def test_a_full_database_can_be_read_and_emptied_one_by_one(engine: Turns, database: Database) -> None:
    ids = fill(engine, "many different words about a harbour and its lighthouse ")
    assert size(database) <= LIMIT
    for memory_id in ids:
        assert engine.call(GET, MemoryGet(id=memory_id)).code is None
        assert engine.call(DELETE, MemoryDelete(id=memory_id), key=f"delete {memory_id}").code is None
        assert size(database) <= LIMIT + reserve_bytes(LIMIT)
    while engine.call(EMPTY_TRASH, EmptyTrash()).value.remaining:
        pass

    assert engine.call(CREATE, MemoryCreate(content="room again")).code is None


def test_answers_kept_for_repeated_requests_cannot_fill_the_disk(engine: Turns, database: Database) -> None:
    """Emptying an empty trash stores nothing but its answer, under a key, for a day."""
    ids = fill(engine)
    codes = set()
    for number in range(6000):
        codes.add(engine.ask(EMPTY_TRASH, EmptyTrash(), key=f"{number} {'k' * 240}"))
        if number % 100 == 99:
            engine.turn()

    assert {answer.code for answer in codes} == {None, ErrorCode.QUOTA_EXCEEDED}
    assert size(database) <= LIMIT + reserve_bytes(LIMIT)
    assert engine.call(DELETE, MemoryDelete(id=ids[0])).code is None
    assert engine.call(DELETE, MemoryDelete(id=ids[1], purge=True)).code is None


def test_imports_begun_without_end_stop_at_the_limit(engine: Turns, database: Database) -> None:
    fill(engine)
    answers = []
    for _ in range(60):
        answers += [engine.ask(IMPORT_BEGIN, ImportBegin()) for _ in range(100)]
        engine.turn()

    assert answers[-1].code == ErrorCode.QUOTA_EXCEEDED
    assert size(database) <= LIMIT


def test_vectors_of_stored_texts_count_and_wait_for_room(engine: Turns, database: Database) -> None:
    """Whoever embeds brings no plan: the database goes by the one it has last seen."""
    ids = fill(engine)
    waiting = passages.pending(database.connection, 1)[0]
    arguments = EmbeddingsStore(texts=[(waiting.id, waiting.content_hash)], model="a-model")
    pump = Turns(database, caller=Caller())

    assert pump.call(STORE, arguments, embeddings=[vectors(40)]).code == ErrorCode.QUOTA_EXCEEDED
    assert passages.pending_count(database.connection) == len(ids)
    assert size(database) <= LIMIT
    for memory_id in ids[1:]:
        engine.call(DELETE, MemoryDelete(id=memory_id, purge=True))
    assert pump.call(STORE, arguments, embeddings=[vectors(40)]).value.stored == 1
    assert size(database) <= LIMIT


def test_a_batch_that_only_deletes_may_use_the_reserve_and_one_that_stores_may_not(engine: Turns, database: Database) -> None:
    ids = fill(engine)
    mixed = MemoryBatch(create=[MemoryCreate(content="x" * 9000)], delete=ids[:1])

    assert engine.call(BATCH, mixed).code == ErrorCode.QUOTA_EXCEEDED
    assert engine.call(BATCH, MemoryBatch(delete=ids)).code is None
    assert memories.trashed_count(database.connection, database.now()) == len(ids)


def test_a_smaller_plan_leaves_what_is_there_and_lets_it_shrink(engine: Turns, database: Database) -> None:
    ids = fill(engine)
    engine.caller = limited(LIMIT // 2)

    assert engine.call(UPDATE, MemoryUpdate(id=ids[0], content="less")).code == ErrorCode.QUOTA_EXCEEDED
    assert engine.call(GET, MemoryGet(id=ids[0])).code is None
    for memory_id in ids:
        assert engine.call(DELETE, MemoryDelete(id=memory_id)).code is None
    assert engine.call(RESTORE, MemoryRestore(id=ids[0])).code is None
    assert engine.call(DELETE, MemoryDelete(id=ids[0], purge=True)).code is None


def test_a_larger_plan_holds_from_the_next_request_on(engine: Turns) -> None:
    fill(engine)
    engine.caller = limited(LIMIT * 2)

    assert engine.call(CREATE, MemoryCreate(content="more " * 400)).code is None


def test_sqlites_own_bound_is_a_clean_refusal_and_takes_nobody_along(database: Database) -> None:
    """A tool that grows without measure, which none of ours does: the file itself may not grow as far."""

    def without_measure(opened: Database, arguments: Any, request: Request) -> Any:
        opened.connection.execute("CREATE TABLE hog AS SELECT zeroblob(80000000)")

    engine = Turns(database, caller=limited(LIMIT), handlers={UPDATE.name: without_measure})
    ids = fill(engine)
    deleted = engine.ask(DELETE, MemoryDelete(id=ids[0]))
    grown = engine.ask(UPDATE, MemoryUpdate(id=ids[2]))
    purged = engine.ask(DELETE, MemoryDelete(id=ids[1], purge=True))
    engine.turn()

    assert (deleted.code, purged.code) == (None, None)
    assert grown.failure is not None
    assert (grown.code, grown.failure.details["limit"]) == (ErrorCode.QUOTA_EXCEEDED, LIMIT)
    assert database.connection.pragma("integrity_check") == "ok"


def test_no_plan_is_no_bound(engine: Turns, database: Database) -> None:
    engine.call(CREATE, MemoryCreate(content="on a plan"))
    bounded = database.connection.pragma("max_page_count")
    engine.caller = limited(None)
    engine.call(CREATE, MemoryCreate(content="on none"))

    assert bounded < database.connection.pragma("max_page_count") == 4_294_967_294


def test_the_bound_is_learned_again_by_the_next_engine(tmp_path: Path) -> None:
    for _ in range(2):
        with Database(tmp_path / "memory.db") as database:
            unbounded = database.connection.pragma("max_page_count")
            Turns(database, caller=limited(LIMIT)).call(CREATE, MemoryCreate(content="x"))

            assert database.connection.pragma("max_page_count") < unbounded
