"""Staging a database as the replicator does, and having the fork server adopt it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from engine.catalogue.recovery import STAGED_DATABASE, STAGED_NOTE, RestoreNote
from engine.link import Link
from engine.protocol.processes import Adopt, Adopted
from engine.sandbox.adoption import STAGING


def stage(folder: Path, data: bytes, note: RestoreNote, *, owner: int | None = None) -> Path:
    """Put a database and its note beneath a node's staging folder, as its replicator does."""
    staged = folder / STAGING / note.id
    staged.mkdir(parents=True)
    (staged / STAGED_DATABASE).write_bytes(data)
    (staged / STAGED_NOTE).write_bytes(msgspec.json.encode(note))
    if owner is not None:
        for path in (staged.parent, staged, *staged.iterdir()):
            os.chown(path, owner, owner)
    return staged


async def adopt(folder: Path, tenant: str, name: str, *, preview: bool = False) -> None:
    """Ask the node's fork server to adopt what is staged."""
    async with Link(folder / "run" / "fork.sock") as fork_server:
        await fork_server.call("adopt", Adopt(tenant=tenant, staged=name, preview=preview), result_type=Adopted)
