"""Imports into an open database, step by step, for the tests of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from engine.catalogue.export_file import Entry
from engine.catalogue.memory import MemoryList
from engine.catalogue.transfer import (
    IMPORT_BATCH_MAX,
    STAGE_MS,
    ImportBegin,
    ImportCommitted,
    ImportNamed,
    ImportStage,
    ImportStaged,
)
from engine.protocol import Request
from engine.store.database import Database
from engine.tools import import_steps, memory

REQUEST = Request(id=1, method="")
CREATED = datetime(2026, 3, 21, 12, 52, 55, tzinfo=UTC)


def entry(number: int, content: str = "", **fields: Any) -> Entry:
    return Entry(id=number, content=content or f"entry {number}", memory_type="note", created_at=CREATED, **fields)


@contextmanager
def write(database: Database) -> Iterator[None]:
    """Run the block as one write of a group."""
    with database.write_group(), database.savepoint():
        yield


def begin(database: Database) -> int:
    with write(database):
        return import_steps.begin(database, ImportBegin(), REQUEST).import_id


def stage(database: Database, import_id: int, *entries: Entry, first: int = 0, budget_ms: int = 60_000) -> ImportStaged:
    arguments = ImportStage(import_id=import_id, first=first, entries=list(entries), budget_ms=budget_ms)
    with write(database):
        return import_steps.stage(database, arguments, REQUEST)


def commit(database: Database, import_id: int, request: Request = REQUEST) -> ImportCommitted:
    with write(database):
        return import_steps.commit(database, ImportNamed(import_id=import_id), request)


def end(database: Database, import_id: int) -> None:
    with write(database):
        import_steps.end(database, ImportNamed(import_id=import_id), REQUEST)


def bring(database: Database, *entries: Entry) -> ImportCommitted:
    """Import a file in one go."""
    import_id = begin(database)
    stage(database, import_id, *entries)
    committed = commit(database, import_id)
    end(database, import_id)
    return committed


def bring_in_batches(database: Database, entries: list[Entry]) -> ImportCommitted:
    """Import a file as a gateway does: as much at a time as the engine has time for."""
    import_id, first = begin(database), 0
    while first < len(entries):
        batch = entries[first : first + IMPORT_BATCH_MAX]
        first = stage(database, import_id, *batch, first=first, budget_ms=STAGE_MS).next
    committed = commit(database, import_id)
    end(database, import_id)
    return committed


def stored(database: Database) -> dict[int, str]:
    """Return what a list shows, by id."""
    page = memory.list_page(database, MemoryList(limit=500), REQUEST)
    return {one.id: one.content for one in page.memories}


def rows(database: Database, table: str) -> int:
    return int(database.connection.execute(f"SELECT count(*) FROM {table}").get)
