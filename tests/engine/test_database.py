"""The tenant's database: migrations, checksums, transactions, limits."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from engine.catalogue.batch import MemoryCreateBatch
from engine.catalogue.memory import MemoryCreate, MemoryDelete, MemoryGet, MemoryUpdate
from engine.protocol import Caller, Embedding, ErrorCode, Limits, Passage, RemoteError, Request
from engine.store import housekeeping, memories, passages, statistics
from engine.store.database import Database
from engine.store.migration import MIGRATIONS, Migration, SchemaTooNew, load, migrate
from engine.tools import batch, memory

NOW = 1_790_000_000_000_000
REQUEST = Request(id=1, method="")


def create(database: Database, content: str, **fields: object) -> int:
    with database.write_group():
        return memory.create(database, MemoryCreate(content=content, **fields), REQUEST).id  # type: ignore[arg-type]


def test_a_commit_is_on_the_disk_before_it_is_acknowledged(tmp_path: Path) -> None:
    with Database(tmp_path / "memory.db") as database:
        connection = database.connection

        assert connection.pragma("synchronous") == 2
        assert connection.pragma("journal_mode") == "wal"
        assert connection.pragma("secure_delete") == 1


def test_a_flipped_bit_is_an_error_not_a_wrong_answer(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with Database(path) as database:
        for number in range(50):
            create(database, f"memory number {number} about the harbour")
    content = bytearray(path.read_bytes())
    position = content.index(b"memory number 31 about")
    content[position + 3] ^= 0x10
    path.write_bytes(content)

    with Database(path) as database, pytest.raises(apsw.IOError):
        for number in range(1, 51):
            memories.get(database.connection, number, NOW)


def test_a_file_of_a_newer_program_is_not_touched(tmp_path: Path) -> None:
    with Database(tmp_path / "memory.db") as database:
        database.connection.pragma("user_version", len(MIGRATIONS) + 1)

    with pytest.raises(SchemaTooNew):
        Database(tmp_path / "memory.db")


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with Database(tmp_path / "memory.db") as database:
        broken = Migration(number=len(MIGRATIONS) + 1, sql="CREATE TABLE half (x); SELECT no_such_column FROM memories;")
        with pytest.raises(apsw.SQLError):
            migrate(database.connection, (*MIGRATIONS, broken))

        assert database.connection.pragma("user_version") == len(MIGRATIONS)
        assert database.connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").get == 0


def test_migrations_are_numbered_without_a_gap(tmp_path: Path) -> None:
    (tmp_path / "0001_first.sql").write_text("SELECT 1")
    (tmp_path / "0003_third.sql").write_text("SELECT 1")

    with pytest.raises(ValueError, match="number 2"):
        load(tmp_path)


def test_an_id_is_never_used_again(tmp_path: Path) -> None:
    with Database(tmp_path / "memory.db") as database:
        first = create(database, "one")
        database.connection.execute("DELETE FROM memories")

        assert create(database, "two") > first


def test_a_failed_write_of_a_group_leaves_the_others(tmp_path: Path) -> None:
    with Database(tmp_path / "memory.db") as database:
        with database.write_group():
            with database.savepoint():
                memory.create(database, MemoryCreate(content="kept"), REQUEST)
            with pytest.raises(RemoteError), database.savepoint():
                memory.create(database, MemoryCreate(content="lost", tier="permanent", ttl_seconds=5), REQUEST)
            with database.savepoint():
                memory.create(database, MemoryCreate(content="kept too"), REQUEST)

        contents = [row[0] for row in database.connection.execute("SELECT content FROM memories ORDER BY id")]
        assert contents == ["kept", "kept too"]


def test_the_memory_limit_is_exact_and_counts_the_trash(tmp_path: Path) -> None:
    limited = Request(id=1, method="", caller=Caller(limits=Limits(memories=2)))
    with Database(tmp_path / "memory.db") as database:
        for content in ("one", "two"):
            with database.write_group():
                memory.create(database, MemoryCreate(content=content), limited)
        with pytest.raises(RemoteError) as error, database.write_group():
            memory.create(database, MemoryCreate(content="three"), limited)
        with database.write_group():
            memory.delete(database, MemoryDelete(id=1), limited)
        with pytest.raises(RemoteError), database.write_group():
            memory.create(database, MemoryCreate(content="three"), limited)
        with database.write_group():
            memory.delete(database, MemoryDelete(id=1, purge=True), limited)
        with database.write_group():
            memory.create(database, MemoryCreate(content="three"), limited)

        assert error.value.code == ErrorCode.QUOTA_EXCEEDED
        assert error.value.details == {"metric": "memories", "current": 2, "limit": 2}
        assert memories.count(database.connection, database.now()) == 2


def test_what_has_expired_does_not_count_before_it_is_erased(tmp_path: Path) -> None:
    moment = [NOW]
    limited = Request(id=1, method="", caller=Caller(limits=Limits(memories=1)))
    with Database(tmp_path / "memory.db", clock=lambda: moment[0]) as database:
        create(database, "fleeting", tier="daily", ttl_seconds=1)
        with database.write_group():
            moment[0] += 1_000_000  # it expires after this group has erased what was due
            memory.create(database, MemoryCreate(content="next"), limited)


def test_a_batch_is_counted_as_a_whole(tmp_path: Path) -> None:
    limited = Request(id=1, method="", caller=Caller(limits=Limits(memories=3)))
    three, one = (MemoryCreateBatch(memories=[MemoryCreate(content="x")] * number) for number in (3, 1))
    with Database(tmp_path / "memory.db") as database:
        create(database, "first")
        with pytest.raises(RemoteError) as error, database.write_group():
            batch.create_batch(database, three, limited)
        for _ in range(2):
            with database.write_group():
                batch.create_batch(database, one, limited)

        assert error.value.details == {"metric": "memories", "current": 1, "limit": 3}
        assert memories.count(database.connection, database.now()) == 3


def test_the_trash_is_erased_after_thirty_days(tmp_path: Path) -> None:
    moment = [NOW]
    with Database(tmp_path / "memory.db", clock=lambda: moment[0]) as database:
        memory_id = create(database, "old")
        with database.write_group():
            memory.delete(database, MemoryDelete(id=memory_id), REQUEST)
        due = housekeeping.next_due(database.connection)
        moment[0] = NOW + 30 * 24 * 3600 * 1_000_000 - 1
        with database.write_group():
            database.housekeep()
        assert memories.trashed_count(database.connection, moment[0]) == 1

        moment[0] += 1
        assert due == moment[0]
        with database.write_group():
            assert database.housekeep() is None
        assert database.connection.execute("SELECT count(*) FROM memories").get == 0


def test_the_storage_limit_counts_pages_in_use(tmp_path: Path) -> None:
    with Database(tmp_path / "memory.db") as database:
        size = statistics.storage_bytes(database.connection)
        limited = Request(id=1, method="", caller=Caller(limits=Limits(storage_bytes=size + 40_000)))
        with pytest.raises(RemoteError) as error:
            for number in range(100):
                with database.write_group():
                    memory.create(database, MemoryCreate(content=f"{number} " * 1000), limited)

        assert error.value.details["metric"] == "storage"


def test_an_expired_memory_vanishes_at_its_second(tmp_path: Path) -> None:
    moment = [NOW]
    with Database(tmp_path / "memory.db", clock=lambda: moment[0]) as database:
        memory_id = create(database, "for a minute", tier="daily", ttl_seconds=60)
        moment[0] = NOW + 59_999_999
        assert memory.get(database, MemoryGet(id=memory_id), REQUEST).content == "for a minute"

        moment[0] = NOW + 60_000_000
        with pytest.raises(RemoteError) as error:
            memory.get(database, MemoryGet(id=memory_id), REQUEST)
        assert error.value.code == ErrorCode.NOT_FOUND

        create(database, "the next write purges")
        assert database.connection.execute("SELECT count(*) FROM memories").get == 1


def test_reads_are_counted_with_the_next_write(tmp_path: Path) -> None:
    with Database(tmp_path / "memory.db", clock=lambda: NOW) as database:
        memory_id = create(database, "read often")
        for _ in range(3):
            memory.get(database, MemoryGet(id=memory_id), REQUEST)
        create(database, "something else")

        assert memory.get(database, MemoryGet(id=memory_id), REQUEST).access_count == 3


def test_vectors_of_another_model_are_refused_by_name(tmp_path: Path) -> None:
    with Database(tmp_path / "memory.db") as database:
        first, second = create(database, "one"), create(database, "two")
        with database.write_group():
            passages.replace(database.connection, first, Embedding("a-model", [Passage(0, 3, bytes(16))]))
        with pytest.raises(RemoteError) as other_model, database.write_group():
            passages.replace(database.connection, second, Embedding("b-model", [Passage(0, 3, bytes(16))]))
        with pytest.raises(RemoteError) as other_size, database.write_group():
            passages.replace(database.connection, second, Embedding("a-model", [Passage(0, 3, bytes(12))]))

        assert other_model.value.code == ErrorCode.WRONG_MODEL
        assert other_model.value.details == {"model": "a-model"}
        assert other_size.value.code == ErrorCode.INVALID
        assert passages.pending_count(database.connection) == 1


def test_vectors_of_a_text_that_changed_meanwhile_are_dropped(tmp_path: Path) -> None:
    with Database(tmp_path / "memory.db") as database:
        memory_id = create(database, "before")
        (text,) = passages.pending(database.connection, 10)
        with database.write_group():
            memory.update(database, MemoryUpdate(id=memory_id, content="after"), REQUEST)
        with database.write_group():
            embedding = Embedding("a-model", [Passage(0, 6, bytes(16))])
            stored = passages.store(database.connection, [(text.id, text.content_hash)], [embedding])

        assert stored == 0
        assert passages.pending_count(database.connection) == 1
