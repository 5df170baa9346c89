"""Every schema there ever was, filled as the program of its time would have filled it, comes to today's with all it holds.

Each fixture is SQL of its schema, not made with today's functions: what was written then is what lies on the disks.
"""

from __future__ import annotations

import struct
from pathlib import Path

import apsw
import pytest

from engine.catalogue.lifecycle import CheckReport
from engine.catalogue.memory import MemoryCreate, MemoryGet
from engine.catalogue.search import MemorySearch
from engine.check import check
from engine.protocol import Embedding, Passage, Request
from engine.store.connection import open_writer
from engine.store.database import Database
from engine.store.migration import MIGRATIONS, migrate
from engine.tools import memory
from engine.tools.search import search

DIMENSIONS = 16
NOW = 1_790_000_000_000_000
MODEL = "all-MiniLM-L6-v2+int8"


def vector(axis: int) -> bytes:
    """Return the unit vector along one axis."""
    return struct.pack(f"<{DIMENSIONS}f", *(float(number == axis) for number in range(DIMENSIONS)))


# id, content, content_hash, type, tags, metadata, importance, workspace, scope_type, scope_id, tier, version, created_at,
# updated_at, accessed_at, access_count, expires_at, event_time, deleted_at, embedding_model
MEMORIES = f"""
INSERT INTO memories VALUES
    (1, 'The harbour master retires in May.', 'sha256:01', 'note', '["people","work/harbour"]', '{{"project":"Kapstadt"}}',
     0.5, 'default', 'global', NULL, 'permanent', 1, {NOW - 9}, {NOW - 9}, NULL, 0, NULL, NULL, NULL, '{MODEL}'),
    (2, 'Die Brücke wird am Dienstag gesperrt: 用心.', 'sha256:02', 'decision', '[]', '{{}}',
     0.9, 'roads', 'user', 'anna', 'permanent', 3, {NOW - 8}, {NOW - 7}, {NOW - 1}, 12, NULL, {NOW - 10**12}, NULL, '{MODEL}'),
    (3, 'Deploy failed with E4021.', 'sha256:03', 'issue', '["work"]', '{{"session_id":"s1"}}',
     0.5, 'default', 'session', 's1', 'permanent', 1, {NOW - 7}, {NOW - 7}, NULL, 0, NULL, NULL, NULL, NULL),
    (4, 'Was thrown away.', 'sha256:04', 'note', '["people"]', '{{}}',
     0.5, 'default', 'global', NULL, 'permanent', 2, {NOW - 6}, {NOW - 5}, NULL, 0, NULL, NULL, NULL, NULL),
    (5, 'Only for a while.', 'sha256:05', 'note', '[]', '{{}}',
     0.5, 'default', 'global', NULL, 'daily', 1, {NOW - 5}, {NOW - 5}, NULL, 0, {NOW + 10**15}, NULL, NULL, NULL),
    (90071992547, 'Imported under a large id.', 'sha256:06', 'note', '[]', '{{"deep":{{"list":[1,"x"]}}}}',
     0.0, 'default', 'agent', 'a-1', 'permanent', 1, 1, 1, NULL, 0, NULL, NULL, NULL, NULL);
UPDATE memories SET deleted_at = {NOW - 5} WHERE id = 4;
"""
LATER_MEMORIES = MEMORIES.replace(
    "INSERT INTO memories VALUES",
    "INSERT INTO memories (id, content, content_hash, type, tags, metadata, importance, workspace, scope_type, scope_id, tier,"
    " version, created_at, updated_at, accessed_at, access_count, expires_at, event_time, deleted_at, embedding_model) VALUES",
)
VECTORS = f"""
INSERT INTO properties VALUES ('embedding_model', '{MODEL}'), ('embedding_dimensions', '{DIMENSIONS}');
INSERT INTO passages VALUES
    (1, 1, 0, 20, x'{vector(0).hex()}'), (2, 1, 15, 34, x'{vector(1).hex()}'), (3, 2, 0, 43, x'{vector(2).hex()}');
"""
VECTORS_WITH_CODES = f"""
INSERT INTO embedding_models (id, name, dimensions, role) VALUES (1, '{MODEL}', {DIMENSIONS}, 'active');
INSERT INTO passage_codes VALUES
    (1, 1, 1, vec_quantize_binary(x'{vector(0).hex()}')), (2, 1, 1, vec_quantize_binary(x'{vector(1).hex()}')),
    (3, 2, 1, vec_quantize_binary(x'{vector(2).hex()}'));
INSERT INTO passages (id, memory_id, start_char, end_char, vector, model_id) VALUES
    (1, 1, 0, 20, x'{vector(0).hex()}', 1), (2, 1, 15, 34, x'{vector(1).hex()}', 1), (3, 2, 0, 43, x'{vector(2).hex()}', 1);
"""
STAGED = f"""
INSERT INTO imports VALUES (7, {NOW});
INSERT INTO import_entries VALUES (7, 0, x'80'), (7, 1, x'80');
"""
HISTORY = f"""
INSERT INTO memory_versions VALUES
    (2, 1, 'Die Brücke bleibt offen.', 'sha256:21', 'note', '[]', '{{}}', 0.5, 'roads', 'user', 'anna', 'permanent',
     NULL, NULL, NULL, {NOW - 8}, 'key_1', NULL),
    (2, 2, 'Die Brücke wird gesperrt.', 'sha256:22', 'note', '[]', '{{}}', 0.5, 'roads', 'user', 'anna', 'permanent',
     NULL, NULL, NULL, {NOW - 8}, 'key_1', 'decided');
INSERT INTO purges VALUES (8, 'sha256:08', {NOW - 100});
INSERT INTO idempotent_requests VALUES ('one', x'00', x'80', {NOW - 100});
INSERT INTO idempotent_memories VALUES (1, 'one');
"""
LINKS = f"""
INSERT INTO links (from_id, to_id, type, strength, confidence, pinned, source, created_at, reinforced_at) VALUES
    (1, 2, 'related_to', 1.0, 1.0, 0, 'manual', {NOW - 3}, {NOW - 3});
"""

FILLED: dict[int, str] = {
    1: MEMORIES + VECTORS + STAGED,
    2: LATER_MEMORIES + VECTORS + STAGED + HISTORY,
    3: LATER_MEMORIES + VECTORS + STAGED + HISTORY,
    4: LATER_MEMORIES + VECTORS_WITH_CODES + STAGED + HISTORY,
    5: LATER_MEMORIES + VECTORS_WITH_CODES + STAGED + HISTORY + LINKS,
}
"""By schema. A new migration needs an entry for the schema before it."""


@pytest.fixture(params=FILLED)
def schema(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def path(schema: int, tmp_path: Path) -> Path:
    """A database of an earlier schema, as a killed engine leaves it: half of it in the log."""
    file = tmp_path / "memory.db"
    connection = open_writer(file)
    migrate(connection, MIGRATIONS[:schema])
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    with connection:
        connection.execute(FILLED[schema])
    connection.close()
    return file


def test_every_earlier_schema_has_a_fixture() -> None:
    assert FILLED.keys() == set(range(1, len(MIGRATIONS)))


def test_all_memories_are_there_as_they_were(path: Path) -> None:
    with Database(path, clock=lambda: NOW) as database:
        second = memory.get(database, MemoryGet(id=2), Request(id=1, method=""))

        assert (second.content, second.type, second.version) == ("Die Brücke wird am Dienstag gesperrt: 用心.", "decision", 3)
        assert (second.workspace, second.scope.type, second.scope.id) == ("roads", "user", "anna")
        assert (second.importance, second.access_count) == (0.9, 12)
        rows = database.connection.execute("SELECT id, deleted_at IS NULL, metadata, tags FROM memories ORDER BY id").fetchall()
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5, 90071992547]
    assert [row[1] for row in rows] == [1, 1, 1, 0, 1, 1]
    assert rows[0][2:] == ('{"project":"Kapstadt"}', '["people","work/harbour"]')


def test_an_id_is_not_used_again_after_it(path: Path) -> None:
    with Database(path, clock=lambda: NOW) as database, database.write_group():
        created = memory.create(database, MemoryCreate(content="new"), Request(id=1, method=""))

    assert created.id == 90071992548  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("query", "found"), [("harbour", 1), ("dienstag", 2), ("gesperrt", 2), ("E4021", 3), ("kapstadt", 1), ("thrown", None)]
)
def test_words_are_found(path: Path, query: str, found: int | None) -> None:
    with Database(path, clock=lambda: NOW) as database:
        answer = search(database, MemorySearch(query=query, mode="keyword"), Request(id=1, method=""))

    assert [hit.memory.id for hit in answer.results][:1] == ([] if found is None else [found])


@pytest.mark.parametrize(("axis", "found"), [(0, 1), (1, 1), (2, 2)])
def test_meanings_are_found(path: Path, axis: int, found: int) -> None:
    request = Request(id=1, method="", embeddings=[Embedding(MODEL, [Passage(0, 1, vector(axis))])])
    with Database(path, clock=lambda: NOW) as database:
        answer = search(database, MemorySearch(query="whatever", mode="semantic"), request)

    assert answer.results[0].memory.id == found


def test_the_whole_database_is_sound_and_like_a_new_one(path: Path, tmp_path: Path) -> None:
    with Database(path, clock=lambda: NOW) as database:
        migrated = schema_of(database.connection)
        kept = database.connection.execute("SELECT count(*) FROM imports").get
    with Database(tmp_path / "new.db") as database:
        fresh = schema_of(database.connection)

    assert migrated == fresh
    assert kept == 0  # what was staged in the old way was never promised to anybody
    assert check(path) == CheckReport(memories=6, bytes=path.stat().st_size)


def schema_of(connection: apsw.Connection) -> set[tuple[str, str]]:
    return set(connection.execute("SELECT name, coalesce(sql, '') FROM sqlite_schema"))


def test_history_and_links_are_kept(path: Path, schema: int) -> None:
    with Database(path, clock=lambda: NOW) as database:
        count = database.connection.execute
        kept = [count(f"SELECT count(*) FROM {table}").get for table in ("memory_versions", "purges", "links")]

    assert kept == [2 * (schema >= 2), int(schema >= 2), int(schema >= 5)]
