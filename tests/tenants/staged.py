"""Databases that hold what a test says, staged as the replicator stages them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.catalogue.memory import MemoryCreate
from engine.protocol import Request
from engine.store.database import Database
from engine.tools import memory
from tests.engine.restoring import Kind, make, note_for
from tests.tenants.adopting import stage


def stage_memories(
    folder: Path, name: str, *contents: str, kind: Kind = "earlier", txid: int = 0, checksum: int | None = None
) -> str:
    """Stage a database with these memories beneath a node's folder and return its name. ``checksum``: a wrong one."""
    data = make(folder / f"made-{name}", *map(_create, contents))
    note = note_for(data, kind, name=name, txid=txid)
    if checksum is not None:
        note.checksum = checksum
    stage(folder, data, note)
    return name


def _create(content: str) -> Callable[[Database], object]:
    return lambda database: memory.create(database, MemoryCreate(content=content), Request(id=1, method=""))
