"""One engine: a forked process that serves one tenant's database on a socket that it inherited.

It starts by taking the lock of its folder, so that a database never has two engines, whatever became of their parents. It
ends on SIGTERM, when its parent dies, or when the host finds it idle: it finishes what is in flight, writes what it had
buffered, closes the database, leaves word of when to be woken and exits 0.

A file that turns out to be damaged is set aside (``engine.store.quarantine``): whatever is in flight is refused, nothing more
is written, and the engine ends. The host starts none for it again.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import structlog

from engine import log
from engine.catalogue.lifecycle import DATABASE_CHECK, HIBERNATE, CheckReport, Hibernate, Idleness
from engine.dispatch import EngineDispatcher
from engine.folder import FolderLock, forget_due, leave_due
from engine.housekeeper import Housekeeper
from engine.process import die_with_parent, stop_event
from engine.protocol import Hello, Request
from engine.protocol.errors import database_corrupt
from engine.service import Dispatcher, Methods, Responder, Service
from engine.store import housekeeping, integrity, passages
from engine.store.database import Database
from engine.store.quarantine import Quarantine, is_damage
from engine.tools import HANDLERS

_log = structlog.get_logger()

_LOCK_WAIT_S = 20.0
"""How long a new engine waits for the one before it to finish draining."""


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What one engine needs to know."""

    tenant: str
    """The database's name, for the log only."""
    parent: int
    """Process id of the fork server: an engine never outlives it."""
    folder: Path
    """Holds ``memory.db`` and everything else this engine may touch."""


def run(settings: EngineSettings, listening: socket.socket, *, serving: Callable[[], None]) -> None:
    """Serve until told to end, and call ``serving`` once requests are answered.

    Called in the forked child, which has no other thread and no running loop.
    """
    die_with_parent(settings.parent)
    log.configure("engine")
    structlog.contextvars.bind_contextvars(tenant=settings.tenant)
    with FolderLock(settings.folder, wait_s=_LOCK_WAIT_S):
        quarantine = Quarantine(settings.folder)
        forget_due(settings.folder)
        if not quarantine.is_active:  # otherwise it came about while we were being started
            _run_database(settings.folder, listening, quarantine, serving)


def _run_database(folder: Path, listening: socket.socket, quarantine: Quarantine, serving: Callable[[], None]) -> None:
    """Serve the database and leave word of when to be woken. One that turns out to be damaged is set aside."""
    try:
        with Database(folder / "memory.db") as database:
            asyncio.run(_serve(database, listening, quarantine, serving))
            if quarantine.is_active:
                database.abandon()
                return
            due = housekeeping.next_due(database.connection)
        leave_due(folder, due)
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
        alone = service.in_flight <= 1 and turns.is_empty  # the one is this request
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
        report, damage = await _check(database)
        if damage is not None:
            turns.failure(damage, DATABASE_CHECK.name)
        return report

    handlers: dict[str, Any] = {**HANDLERS, HIBERNATE.name: hibernate}
    housekeeper = Housekeeper(database, failed=lambda error: turns.failure(error, "housekeeping"))
    turns = EngineDispatcher(database, handlers, damaged=damaged, written=housekeeper.plan)
    service = Service(_Front(turns, Methods({DATABASE_CHECK.name: check})), listening, hello=hello)
    with housekeeper:
        async with service:
            serving()
            _log.info("engine_started", pid=os.getpid())
            await stop.wait()
    _log.info("engine_stopped")


class _Front:
    """Hands most requests to the turns of the one thread, and those that take minutes to a thread of their own."""

    def __init__(self, turns: EngineDispatcher, beside: Methods) -> None:
        self._turns = turns
        self._beside = beside

    def dispatch(self, request: Request, responder: Responder) -> None:
        """Take one request."""
        target: Dispatcher = self._beside if request.method == DATABASE_CHECK.name else self._turns
        target.dispatch(request, responder)


async def _check(database: Database) -> tuple[CheckReport, Exception | None]:
    """Check the database as it is now on a second connection in a thread; the engine goes on answering."""
    with database.snapshot() as reader:
        work = asyncio.ensure_future(asyncio.to_thread(integrity.check, reader, database.path, alone=False))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            reader.interrupt()
            await asyncio.wait([work])
            raise
