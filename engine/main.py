"""One engine: a forked process that serves one tenant's database on a socket that it inherited.

It starts by taking the lock of its folder, so that a database never has two engines, whatever became of their parents. It
ends on SIGTERM, when its parent dies, or when the host finds it idle: it finishes what is in flight, writes what it had
buffered, closes the database and exits 0.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from engine import log
from engine.catalogue.lifecycle import HIBERNATE, Hibernate, Idleness
from engine.dispatch import EngineDispatcher
from engine.process import die_with_parent, stop_event
from engine.protocol import Hello, Request
from engine.service import Service
from engine.store import passages
from engine.store.database import Database
from engine.tools import HANDLERS

_log = structlog.get_logger()

_LOCK_WAIT_S = 20.0
"""How long a new engine waits for the one before it to finish draining."""


class FolderInUse(Exception):
    """Another engine serves this database and does not end."""


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
    lock = _lock(settings.folder)
    try:
        with Database(settings.folder / "memory.db") as database:
            asyncio.run(_serve(database, listening, serving))
    finally:
        os.close(lock)


async def _serve(database: Database, listening: socket.socket, serving: Callable[[], None]) -> None:
    stop = stop_event(asyncio.get_running_loop())

    def hibernate(_: Database, arguments: Hibernate, request: Request) -> Idleness:
        idle_s = time.monotonic() - dispatcher.last_request_at
        alone = service.in_flight <= 1 and dispatcher.is_empty  # the one is this request
        if alone and idle_s >= arguments.idle_s:
            stop.set()
        return Idleness(hibernating=stop.is_set(), idle_s=idle_s)

    def hello() -> Hello:
        return Hello(service="engine", pending_embeddings=passages.pending_count(database.connection))

    handlers: dict[str, Any] = {**HANDLERS, HIBERNATE.name: hibernate}
    dispatcher = EngineDispatcher(database, handlers)
    service = Service(dispatcher, listening, hello=hello)
    async with service:
        serving()
        _log.info("engine_started", pid=os.getpid())
        await stop.wait()
    _log.info("engine_stopped")


def _lock(folder: Path) -> int:
    descriptor = os.open(folder / "engine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    give_up_at = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up_at:
                os.close(descriptor)
                raise FolderInUse(str(folder)) from None
            time.sleep(0.02)
        else:
            return descriptor
