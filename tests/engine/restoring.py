"""Databases to be restored, as the replicator makes them: the bytes of one that was closed, and the note beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from engine.capture.position_file import PositionFile
from engine.captured import Position
from engine.catalogue.recovery import RESTORE_DATABASE, RESTORE_NOTE, RESTORED_FILE, Restored, RestoreNote
from engine.ltx import checksums
from engine.store.database import Database

PAGE_BYTES = 4096
TIMESTAMP_MS = 1_790_000_000_000

Kind = Literal["same", "earlier", "fork"]


def make(folder: Path, *steps: Callable[[Database], object]) -> bytes:
    """Open the database of ``folder``, carry the steps out, each in a write of its own, close it and return its bytes."""
    folder.mkdir(exist_ok=True)
    (folder / "outbox").mkdir(exist_ok=True)
    with Database(folder / "memory.db") as database:
        for step in steps:
            with database.write_group():
                step(database)
    return (folder / "memory.db").read_bytes()


def checksum_of(data: bytes) -> int:
    """Return the checksum of a database that is all in memory. None of these tests' has the page that is left out."""
    pages = [data[start : start + PAGE_BYTES] for start in range(0, len(data), PAGE_BYTES)]
    return checksums.database_checksum(checksums.page_checksum(number, page) for number, page in enumerate(pages, 1))


def note_for(data: bytes, kind: Kind, *, name: str = "restore-1", txid: int = 0) -> RestoreNote:
    """Return the note that belongs to these bytes."""
    return RestoreNote(
        id=name,
        kind=kind,
        txid=txid,
        page_bytes=PAGE_BYTES,
        pages=len(data) // PAGE_BYTES,
        checksum=checksum_of(data),
        timestamp_ms=TIMESTAMP_MS,
    )


def hand_over(folder: Path, data: bytes, note: RestoreNote) -> None:
    """Put a database and its note into a tenant's folder, as the fork server does."""
    folder.mkdir(exist_ok=True)
    (folder / "outbox").mkdir(exist_ok=True)
    (folder / RESTORE_NOTE).write_bytes(msgspec.json.encode(note))
    (folder / RESTORE_DATABASE).write_bytes(data)


def outcome(folder: Path) -> Restored:
    """Return what the engine has left for the host."""
    return msgspec.json.decode((folder / RESTORED_FILE).read_bytes(), type=Restored)


def position(folder: Path) -> Position | None:
    """Return from where history goes on."""
    with PositionFile(folder) as file:
        return file.read()


def contents(folder: Path) -> dict[int, str]:
    """Return what the database of a folder says, without changing it."""
    with Database(folder / "memory.db") as database:
        return dict(database.connection.execute("SELECT id, content FROM memories ORDER BY id"))
