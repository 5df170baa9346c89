"""Checks a whole database: SQLite's structure and checksums, references, the word index, counts, tags, versions.

What it finds is told by names of tables and numbers, never with a value that is stored.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from engine.capture.live_files import log_path
from engine.catalogue.lifecycle import CheckReport
from engine.store.migration import MIGRATIONS
from engine.store.quarantine import is_damage
from engine.store.selection import REVEALED

_PROBLEMS_MAX = 20
"""Of one kind. A file that is broken is broken in thousands of places."""

_STRUCTURE = f"PRAGMA integrity_check({_PROBLEMS_MAX})"
_REFERENCES = f'SELECT "table", parent, count(*) FROM pragma_foreign_key_check() GROUP BY 1, 2 LIMIT {_PROBLEMS_MAX}'  # noqa: S608
_WORDS_AND_CONTENT = "INSERT INTO memories_fts (memories_fts, rank) VALUES ('integrity-check', 1)"
_ROWS = "SELECT count(*) FROM memories"

_COUNTS = {
    "memories without an entry in the word index": (
        "SELECT count(*) FROM memories WHERE id NOT IN (SELECT id FROM memories_fts_docsize)"
    ),
    "entries of the word index without a memory": (
        "SELECT count(*) FROM memories_fts_docsize WHERE id NOT IN (SELECT id FROM memories)"
    ),
    "memories by which the counter is wrong": (
        f"SELECT abs((SELECT value FROM counters WHERE name = 'memories') - count(*)) FROM memories AS m WHERE {REVEALED}"  # noqa: S608
    ),
    "tags that cannot be searched for": (
        "SELECT count(*) FROM (SELECT j.value, m.id FROM memories AS m, json_each(m.tags) AS j"
        " EXCEPT SELECT tag, memory_id FROM memory_tags)"
    ),
    "tags that no memory has": (
        "SELECT count(*) FROM (SELECT tag, memory_id FROM memory_tags"
        " EXCEPT SELECT j.value, m.id FROM memories AS m, json_each(m.tags) AS j)"
    ),
    "versions newer than their memory": (
        "SELECT count(*) FROM memory_versions AS v JOIN memories AS m ON m.id = v.memory_id WHERE v.version >= m.version"
    ),
    "embedded memories without a vector": (
        "SELECT count(*) FROM memories WHERE embedding_model IS NOT NULL AND id NOT IN (SELECT memory_id FROM passages)"
    ),
    "vectors without their code": "SELECT count(*) FROM passages WHERE id NOT IN (SELECT id FROM passage_codes)",
    "codes without their vector": "SELECT count(*) FROM passage_codes WHERE id NOT IN (SELECT id FROM passages)",
}
"""Each counts what should not be there. They know the newest schema."""


def check(connection: apsw.Connection, path: Path, *, alone: bool) -> tuple[CheckReport, Exception | None]:
    """Return what is wrong with the database that ``connection`` reads, and the error that showed that its file is damaged.

    ``alone`` says that nobody else uses the file: then the word index is compared with the texts, which locks out writers.
    """
    report = CheckReport(bytes=_size(path))
    try:
        report.problems += [text for (text,) in connection.execute(_STRUCTURE) if text != "ok"]
        report.problems += [
            f"{table}: {count} rows without their row in {parent}" for table, parent, count in connection.execute(_REFERENCES)
        ]
        if connection.pragma("user_version") == len(MIGRATIONS):
            _count(connection, report)
        else:
            report.left_out.append("counts: the database has an older schema, which changes when it is next opened")
        if alone:
            _compare_words(connection, report)
        else:
            report.left_out.append("the word index was not compared with the texts: that is done when the node is stopped")
    except apsw.Error as error:
        if not is_damage(error):
            raise
        report.problems.append(f"damaged: {type(error).__name__} {getattr(error, 'extendedresult', 0)}")
        return report, error
    return report, None


def _count(connection: apsw.Connection, report: CheckReport) -> None:
    report.memories = connection.execute(_ROWS).get
    for what, query in _COUNTS.items():
        if count := connection.execute(query).get:
            report.problems.append(f"{count} {what}")


def _compare_words(connection: apsw.Connection, report: CheckReport) -> None:
    if not connection.table_exists(None, "memories_fts"):
        return
    connection.pragma("query_only", False)  # the index takes the command as an insertion, which changes nothing
    try:
        connection.execute(_WORDS_AND_CONTENT)
    except apsw.CorruptError:
        report.problems.append("the word index does not hold the words of the texts")
    finally:
        connection.pragma("query_only", True)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in (path, log_path(path)) if file.exists())
