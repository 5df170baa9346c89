"""One engine: a forked process that serves one tenant's database on a socket that it inherited.

It makes what it may not make later, has itself confined to its folder, and only then looks at a file. It takes the lock of its
folder, so that a database never has two engines, whatever became of their parents. It ends on SIGTERM, when its parent dies, or
when the host finds it idle: it finishes what is in flight, writes what it had buffered, captures the last of it, closes the
database, leaves word of when to be woken and exits 0.

A file that turns out to be damaged is set aside (``engine.store.quarantine``): whatever is in flight is refused, nothing more
is written, and the engine ends. The host starts none for it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import apsw
import structlog

from engine.capture import Capture, stand_down
from engine.catalogue.lifecycle import DATABASE_CHECK, HIBERNATE, CheckReport, Hibernate, Idleness
from engine.catalogue.recovery import FLUSH, PREVIEW_DATABASE, RESTORE_PREVIEW, Flushed, PreviewReport
from engine.dispatch import EngineDispatcher
from engine.flusher import Flusher
from engine.folder import FolderLock, forget_due, leave_due
from engine.housekeeper import Housekeeper
from engine.intake import compare, take_in
from engine.layout import tenant_folder
from engine.process import stop_event
from engine.protocol import ErrorCode, Hello, RemoteError, Request
from engine.protocol.errors import database_corrupt
from engine.sandbox import Box, Confinement
from engine.service import Dispatcher, Method, Methods, Responder, Service
from engine.store import housekeeping, integrity, passages
from engine.store.connection import seed_randomness
from engine.store.database import Database
from engine.store.quarantine import Quarantine, is_damage
from engine.tools import HANDLERS

_log = structlog.get_logger()

_T = TypeVar("_T")

_LOCK_WAIT_S = 20.0
"""How long a new engine waits for the one before it to finish draining."""


_THREADS_MAX = 3
"""Beside the one that serves: two checks, and a capture of the whole database."""


@dataclass(frozen=True, kw_only=True)
class EnginesSettings:
    """What all engines of a node share."""

    data_folder: Path
    memory_max_mb: int
    """What one engine may take for itself."""
    disk_reserve_bytes: int | None = None
    """What must stay free on the disk; ``None`` for the default of ``FreeSpace``."""
    capture: bool = True
    """Whether what is committed is captured, for a replicator to carry away."""


@dataclass(frozen=True)
class EngineSettings:
    """What one engine needs to know."""

    tenant: str
    user: int | None
    """The tenant's user, ``None`` where engines have none of their own."""
    parent: int
    """Process id of the fork server: an engine never outlives it."""
    shared: EnginesSettings
    rebase: int | None = None
    """After which transaction history goes on with a file that holds the whole database, whatever lies in the outbox."""


def run(settings: EngineSettings, confinement: Confinement, listening: socket.socket, *, serving: Callable[[], None]) -> None:
    """Serve until told to end, and call ``serving`` once requests are answered.

    Called in the forked child, which has no other thread and no running loop.
    """
    with asyncio.Runner() as runner:
        # What can't be made in the box: the loop's descriptors, and an executor, whose module asyncio imports when it is
        # needed.
        runner.get_loop().set_default_executor(ThreadPoolExecutor(_THREADS_MAX))
        seed_randomness()
        box = Box(
            folder=tenant_folder(settings.shared.data_folder, settings.tenant),
            user=settings.user,
            memory_max_mb=settings.shared.memory_max_mb,
            parent=settings.parent,
        )
        folder = confinement.apply(box)
        with FolderLock(folder, wait_s=_LOCK_WAIT_S):
            take_in(folder)  # which may end a quarantine
            quarantine = Quarantine(folder)
            forget_due(folder)
            if not quarantine.is_active:  # otherwise it came about while we were being started
                run_database(runner, settings.shared, folder, listening, quarantine, serving, rebase=settings.rebase)


def run_database(
    runner: asyncio.Runner,
    shared: EnginesSettings,
    folder: Path,
    listening: socket.socket,
    quarantine: Quarantine,
    serving: Callable[[], None],
    *,
    rebase: int | None = None,
) -> None:
    """Serve the database and leave word of when to be woken. One that turns out to be damaged is set aside."""
    capture = Capture(folder, rebase=rebase) if shared.capture else None
    if capture is None:
        stand_down(folder)
    try:
        with Database(folder / "memory.db", disk_reserve_bytes=shared.disk_reserve_bytes, capture=capture) as database:
            runner.run(_serve(database, listening, quarantine, serving))
            if quarantine.is_active:
                database.abandon()
                return
            due = housekeeping.next_due(database.connection)
            now = database.now()
        # What could not be captured now is captured by the next engine, which somebody has to start.
        leave_due(folder, now if capture is not None and capture.is_behind else due)
    except Exception as error:
        if not is_damage(error):
            raise
        quarantine.enter(error)


async def _serve(database: Database, listening: socket.socket, quarantine: Quarantine, serving: Callable[[], None]) -> None:
    stop = stop_event(asyncio.get_running_loop())

    def damaged(error: Exception) -> None:
        quarantine.enter(error)
        stop.set()

    def hibernate(_: Database, arguments: Hibernate, request: Request) -> Idleness:
        idle_s = time.monotonic() - turns.last_request_at
        alone = service.in_flight <= 1 and turns.is_empty and not (flusher and flusher.is_busy)  # the one is this request
        if alone and idle_s >= arguments.idle_s:
            stop.set()
        return Idleness(hibernating=stop.is_set(), idle_s=idle_s)

    def hello() -> Hello:
        try:
            pending = 0 if turns.is_refusing else passages.pending_count(database.connection)
        except apsw.Error as error:
            turns.failure(error, "hello")
            pending = 0
        return Hello(service="engine", pending_embeddings=pending)

    async def check(request: Request) -> CheckReport:
        if turns.is_refusing:
            raise database_corrupt()
        report, damage = await _beside(database, lambda reader: integrity.check(reader, database.path, alone=False))
        if damage is not None:
            turns.failure(damage, DATABASE_CHECK.name)
        return report

    async def preview(request: Request) -> PreviewReport:
        if turns.is_refusing:
            raise database_corrupt()
        try:
            return await _beside(database, lambda reader: compare(reader, database.path.with_name(PREVIEW_DATABASE)))
        except apsw.Error as error:
            raise turns.failure(error, RESTORE_PREVIEW.name) from error

    async def flush(request: Request) -> Flushed:
        if turns.is_refusing:
            raise database_corrupt()
        if flusher is None:
            raise RemoteError(ErrorCode.UNAVAILABLE, "nothing is replicated on this node")
        return await flusher.flush()

    handlers: dict[str, Any] = {**HANDLERS, HIBERNATE.name: hibernate}
    housekeeper = Housekeeper(database, failed=lambda error: turns.failure(error, "housekeeping"))
    flusher = Flusher(database, failed=lambda error: turns.failure(error, "capture")) if database.capture is not None else None
    turns = EngineDispatcher(database, handlers, damaged=damaged, written=housekeeper.plan, start_over=stop.set)
    beside = {DATABASE_CHECK.name: check, FLUSH.name: flush, RESTORE_PREVIEW.name: preview}
    service = Service(_Front(turns, beside), listening, hello=hello)
    with housekeeper:
        async with flusher or contextlib.nullcontext(), service:
            serving()
            _log.info("engine_started", pid=os.getpid())
            await stop.wait()
    _log.info("engine_stopped")


class _Front:
    """Hands most requests to the turns of the one thread, and those that wait for another thread to tasks of their own."""

    def __init__(self, turns: EngineDispatcher, beside: Mapping[str, Method]) -> None:
        self._turns = turns
        self._names = beside.keys()
        self._beside = Methods(beside)

    def dispatch(self, request: Request, responder: Responder) -> None:
        """Take one request."""
        target: Dispatcher = self._beside if request.method in self._names else self._turns
        target.dispatch(request, responder)


async def _beside(database: Database, look: Callable[[apsw.Connection], _T]) -> _T:
    """Look at the database as it is now, on a second connection in a thread; the engine goes on answering."""
    with database.snapshot() as reader:
        work = asyncio.ensure_future(asyncio.to_thread(look, reader))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            reader.interrupt()
            await asyncio.wait([work])
            raise
