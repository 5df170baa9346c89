"""The word index keeps step with the memories, and forgets them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.recall.query import parse
from engine.store import connection as connections
from engine.store import keyword, word_traces
from engine.store.database import Database
from engine.store.migration import MIGRATIONS, migrate
from engine.store.selection import Selection
from tests.engine.memory_rows import NOW, add, change

CHECK = "INSERT INTO memories_fts (memories_fts, rank) VALUES ('integrity-check', 1)"


@pytest.fixture(autouse=True, scope="module")
def _extensions() -> None:
    connections.preload()


texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30),
    st.lists(st.sampled_from(["数据库", "Größe", "dog", "ข้อมูล", "E4021", "ｶﾞｽ"]), max_size=6).map(" ".join),
)
values = st.fixed_dictionaries(
    {},
    optional={
        "content": texts,
        "tags": st.lists(texts, max_size=3).map(json.dumps),
        "workspace": texts,
        "metadata": st.dictionaries(
            texts, st.one_of(texts, st.integers(-9, 9), st.none(), st.lists(texts, max_size=2)), max_size=3
        ).map(json.dumps),
    },
)
steps = st.lists(st.tuples(st.sampled_from(["insert", "insert", "update", "delete"]), st.integers(0, 7), values), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_the_index_keeps_step_with_every_change(database: Database, steps: list[tuple[str, int, dict[str, str]]]) -> None:
    connection = database.connection
    connection.execute("DELETE FROM memories")
    ids: list[int] = []
    for step, which, changed in steps:
        if step == "insert":
            ids.append(add(database, "first"))
        if not ids:
            continue
        if changed and step != "delete":
            change(database, ids[which % len(ids)], changed)
        if step == "delete":
            connection.execute("DELETE FROM memories WHERE id = ?", (ids.pop(which % len(ids)),))
    connection.execute(CHECK)

    connection.execute("DELETE FROM memories")
    connection.execute(CHECK)
    assert connection.execute("SELECT count(*) FROM memories_vocabulary").get == 0


def test_an_erased_memory_leaves_none_of_its_words_in_the_file(database: Database) -> None:
    def file() -> bytes:
        database.connection.pragma("wal_checkpoint", "truncate")
        return database.path.read_bytes()

    fields: dict[str, Any] = {"tags": ["zqtagword"], "workspace": "zqspaceword", "metadata": {"name": "zqmetaword"}}
    secrets = ["zqcontentword", "zqtagword", "zqspaceword", "zqmetaword", "秘密", "zqoldword"]
    for number in range(200):
        add(database, f"memory number {number} of the neighbours")
    memory_id = add(database, "zqoldword", **fields)
    change(database, memory_id, {"content": "zqcontentword 秘密"})
    before = file()
    # The index keeps of a term only what differs from the term before it.
    assert all(secret.encode() in before or secret == "zqoldword" for secret in secrets)

    database.connection.execute("DELETE FROM memories WHERE id = ?", (memory_id,))
    after = file()

    assert [secret for secret in secrets if secret.encode()[2:] in after] == []
    database.connection.execute(CHECK)


@pytest.mark.parametrize("seed", range(3))
def test_nor_does_the_index_keep_the_beginning_of_an_erased_word_to_part_its_pages(database: Database, seed: int) -> None:
    connection = database.connection
    chance = random.Random(seed)
    for _ in range(1500):
        add(database, " ".join("".join(chance.choices("bcdfghjklmnpqrstvwxz", k=12)) for _ in range(6)))
    add(database, "数据库迁移 Größe", tags=["tag"], metadata={"a": "leaf"})
    erased = chance.sample(range(1, 1502), 500)

    for ids in (erased[:400], erased[400:]):
        with word_traces.erased(connection, ids):
            connection.execute("DELETE FROM memories WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(ids),))

    held = [row[0] for row in connection.execute("SELECT term FROM memories_vocabulary")]
    separators = [bytes(row[0])[1:].decode() for row in connection.execute("SELECT term FROM memories_fts_idx")]
    assert len(separators) > 10
    assert [separator for separator in separators if not any(term.startswith(separator) for term in held)] == []
    connection.execute(CHECK)
    assert connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, -1) == 1


def test_nor_do_pages_that_a_merge_has_taken_away(database: Database) -> None:
    """A merge under way has erased the front of a segment, but not the separators of its pages."""
    connection = database.connection
    chance = random.Random(0)
    useless = "SELECT segid, substr(CAST(term AS TEXT), 2) FROM memories_fts_idx WHERE length(term) > 1 AND NOT EXISTS (" + (
        "SELECT 1 FROM memories_fts_data WHERE id = (segid << 37) + (pgno >> 1))"
    )
    found: list[tuple[int, str]] = []
    while not found:
        add(database, " ".join("".join(chance.choices("bcdfghjklmnpqrstvwxz", k=12)) for _ in range(200)))
        found = connection.execute(useless).fetchall()
    segment, beginning = found[0]
    held = connection.execute("SELECT term FROM memories_vocabulary WHERE term >= ? LIMIT 1", (beginning,)).get
    assert held.startswith(beginning)
    memory_id = connection.execute("SELECT rowid FROM memories_fts WHERE memories_fts MATCH ?", (f'"{held}"',)).get

    with word_traces.erased(connection, [memory_id]):
        connection.execute("DELETE FROM memories WHERE id = ?", (memory_id,))

    assert (segment, beginning) not in connection.execute(useless).fetchall()
    connection.execute(CHECK)


def test_memories_of_the_first_schema_are_found_in_the_new_index(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    connection = connections.open_writer(path)
    migrate(connection, MIGRATIONS[:1])
    connection.execute(
        "INSERT INTO memories (content, content_hash, type, tags, metadata, importance, workspace, scope_type, tier, version,"
        " created_at, updated_at)"
        """ VALUES ('数据库 moved', 'x', 'note', '["ops"]', '{"city": "Oslo"}', 0.5, 'atlas', 'global', 'permanent', 1, 1, 1)"""
    )
    connection.close()

    with Database(path) as database:
        for text in ("数据", "move", "ops", "oslo", "atlas"):
            query = parse(text)
            found = keyword.find(database.connection, query, Selection(), tokenize=database.tokenize, limit=10, now=NOW)
            assert list(found.bm25) == [1], text
        database.connection.execute(CHECK)
        database.connection.execute("DELETE FROM memories")
        database.connection.execute(CHECK)
        assert database.connection.execute("SELECT count(*) FROM memories_vocabulary").get == 0
