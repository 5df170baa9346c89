"""Brings the control plane back to an empty disk before anything opens it: keys and accounts are there as if nothing happened.

A new control plane is made only where the object store says that it has none. Where that can't be found out, nothing is
started: an empty one would refuse every key there is, and its snapshots would come after those of the real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
import zlib
from pathlib import Path

import structlog

from engine.link import Link
from engine.protocol import RemoteError
from tenants.messages.replica import ControlFetched
from tenants.registry.snapshots import SnapshotTooLarge, unpack

_log = structlog.get_logger()

_WAIT_S = 60.0
_FETCH_MS = 60_000
_RETRY_S = 0.25


class ControlPlaneUnknown(Exception):
    """Whether there is a control plane in the object store can't be found out, or it can't be read."""


async def bring_back(path: Path, replicator: Link, spool: Path) -> bool:
    """Put the newest snapshot at ``path`` if nothing is there; whether there was one. ``ControlPlaneUnknown``."""
    if await asyncio.to_thread(path.exists):
        return False
    name = await _fetch(replicator)
    if name is None:
        return False
    packed = spool / Path(name).name
    try:
        size = await asyncio.to_thread(_put, packed, path)
    except (OSError, EOFError, zlib.error, sqlite3.Error, SnapshotTooLarge) as error:
        raise ControlPlaneUnknown(f"the newest snapshot can't be read: {error}") from error
    _log.info("control_plane_restored", bytes=size)
    return True


async def _fetch(replicator: Link) -> str | None:
    give_up_at = time.monotonic() + _WAIT_S
    told = ""
    while True:
        try:
            fetched = await replicator.call("fetch_control", result_type=ControlFetched, deadline_ms=_FETCH_MS)
        except RemoteError as error:
            if time.monotonic() >= give_up_at:
                raise ControlPlaneUnknown(f"the newest snapshot can't be fetched: {error.message}") from error
            if error.message != told:
                told = error.message
                _log.warning("control_plane_awaited", reason=told)
            await asyncio.sleep(_RETRY_S)
        else:
            return fetched.name


def _put(packed: Path, path: Path) -> int:
    """Unpack, look whether it is whole, and give it its name; return its size."""
    unpacked = path.with_name(path.name + ".new")
    unpacked.unlink(missing_ok=True)
    try:
        unpack(packed, unpacked)
        with contextlib.closing(sqlite3.connect(unpacked)) as database:
            (found,) = database.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        _fsync(unpacked, os.O_RDWR)
        for stale in ("-wal", "-shm"):  # of a file that is gone: not one of them belongs to this one
            path.with_name(path.name + stale).unlink(missing_ok=True)
        unpacked.rename(path)
        _fsync(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        return path.stat().st_size
    finally:
        unpacked.unlink(missing_ok=True)
        packed.unlink(missing_ok=True)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
