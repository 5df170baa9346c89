"""Snapshots of the control plane's database, taken after it changed and handed to the replicator.

A change is in the object store about a second after it was committed. One snapshot holds everything, so that making them may
not cost more than a twentieth of the time: a large database has them more seldom. What could not be carried away is tried
again. SQLite only: another database has backups of its own.

A snapshot is made with SQLite's backup API on the one connection that there is; nobody else uses it meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import secrets
import shutil
import sqlite3
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.link import Link
from engine.protocol import RemoteError
from tenants.messages.replica import ControlShipped, ShipControl

_log = structlog.get_logger()

_GATHER_S = 0.2
"""Changes that come together go together; little enough that the rest fits into the second."""

_REST_FACTOR = 20
"""So many times what a snapshot cost passes before the next."""

_SHIP_MS = 60_000
_RETRY_S, _RETRY_S_MAX = 0.5, 30.0

_LAST_S = 8.0
"""What is left at the end has so long: less than the supervisor gives the gateway."""

_LARGE_BYTES = 64 * 2**20
"""Past this a snapshot costs so much that they are minutes apart."""

BYTES_MAX = 2**30
"""No snapshot is larger, so that whoever unpacks one knows when to stop."""

_PIECE_BYTES = 256 * 1024
_COMPRESSION_LEVEL = 1
"""Most of it is ids and digests, which no level makes much smaller."""


class SnapshotTooLarge(Exception):
    """The control plane has outgrown snapshots."""


class Snapshots:
    """Makes them in the background. An async context manager: leaving it carries away what changed last."""

    def __init__(self, engine: AsyncEngine, replicator: Link, spool: Path) -> None:
        self._engine = engine
        self._replicator = replicator
        self._spool = spool
        self._changed = True  # whoever wrote before us may not have come to it
        self._woken = asyncio.Event()
        self._end = asyncio.Event()
        self._cost_s = 0.0
        self._large_told = False
        self._making: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        for left_over in self._spool.glob("control-*"):
            left_over.unlink(missing_ok=True)
        event.listen(self._engine.sync_engine, "commit", self._note)
        self._woken.set()
        self._making = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        event.remove(self._engine.sync_engine, "commit", self._note)
        self._end.set()
        self._woken.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_S):
                await self._making

    def _note(self, _connection: Any) -> None:
        """Take note of a commit. It is just about to happen; the connection is free for a snapshot only when it has."""
        self._changed = True
        self._woken.set()

    async def _run(self) -> None:
        retry_s = _RETRY_S
        while not self._end.is_set():
            await self._woken.wait()
            await self._rest(_GATHER_S)
            if not self._changed:  # it is the end
                return
            if await self._settle():
                retry_s = _RETRY_S
                await self._rest(_REST_FACTOR * self._cost_s - _GATHER_S)
            else:
                await self._rest(max(retry_s, _REST_FACTOR * self._cost_s))
                retry_s = min(2 * retry_s, _RETRY_S_MAX)
        if self._changed:
            await self._settle()

    async def _rest(self, seconds: float) -> None:
        """Wait, but not when this is the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._end.wait()

    async def _settle(self) -> bool:
        """Make a snapshot and have it carried away; whether that is done."""
        self._woken.clear()
        self._changed = False
        try:
            await self._ship()
        except (RemoteError, SQLAlchemyError, sqlite3.Error, OSError, SnapshotTooLarge) as error:
            self._changed = True
            self._woken.set()
            _log.warning("control_plane_not_replicated", error=type(error).__name__, reason=str(error))
            return False
        return True

    async def _ship(self) -> None:
        name = f"control-{secrets.token_hex(8)}"
        copy, packed = self._spool / f"{name}.db", self._spool / name
        begun = time.monotonic()
        try:
            await self._copy(copy)
            self._check_size(copy.stat().st_size)
            await asyncio.to_thread(_pack, copy, packed)
            self._cost_s = time.monotonic() - begun
            await self._replicator.call("ship_control", ShipControl(name), result_type=ControlShipped, deadline_ms=_SHIP_MS)
        finally:
            copy.unlink(missing_ok=True)
            packed.unlink(missing_ok=True)

    def _check_size(self, size: int) -> None:
        if size > BYTES_MAX:
            raise SnapshotTooLarge(f"the control plane has {size} bytes")
        if size > _LARGE_BYTES and not self._large_told:
            self._large_told = True
            _log.warning("control_plane_large", bytes=size, advice="move it to Postgres, which has backups of its own")

    async def _copy(self, path: Path) -> None:
        """Copy the database, as of now, into a file that needs no other beside it."""
        target = await asyncio.to_thread(sqlite3.connect, path, check_same_thread=False)
        try:
            async with self._engine.connect() as connection:
                driver: Any = (await connection.get_raw_connection()).driver_connection
                await driver.backup(target)
            await asyncio.to_thread(target.execute, "PRAGMA journal_mode = DELETE")
        finally:
            await asyncio.to_thread(target.close)


def _pack(path: Path, packed: Path) -> None:
    with path.open("rb") as source, gzip.open(packed, "xb", compresslevel=_COMPRESSION_LEVEL) as target:
        shutil.copyfileobj(source, target, _PIECE_BYTES)


def unpack(packed: Path, path: Path) -> None:
    """Write the database that a snapshot holds; ``SnapshotTooLarge``, and ``OSError`` or ``EOFError`` for what is none."""
    size = 0
    with gzip.open(packed, "rb") as source, path.open("xb") as target:
        while piece := source.read(_PIECE_BYTES):
            size += len(piece)
            if size > BYTES_MAX:
                raise SnapshotTooLarge("a snapshot of the control plane has no end")
            target.write(piece)
