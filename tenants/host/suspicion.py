"""Looks at engines of which somebody says that they don't answer, and kills those that hang.

An engine has one thread. While that works on a long request it greets nobody, and must not be killed for it; but whatever it
does for a caller ends at the caller's deadline: reads are interrupted, long writes look at the clock. So an engine
that greets nobody until after the last deadline that it may be working for, and ``_SLACK_S`` more for what has no deadline (a
commit on a slow disk, a checkpoint, a piece of housekeeping), hangs. Its acknowledged writes are safe: killing an engine
at any moment loses none. An engine that does not serve yet may be migrating, and has an hour.

An engine that runs but can't be reached, because the name of its socket is gone, is told to end in order; the next request
starts another with a socket of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from pathlib import Path

import structlog

from engine.address import connect
from engine.client import Client
from engine.protocol import RemoteError
from tenants.host.running_engine import RunningEngine

_log = structlog.get_logger()

_SLACK_S = 20.0

_BUSY_S = 60.0
"""For how long an engine may be busy when nobody says: the longest that the gateway gives one, for a step of an import."""

_START_S = 3600.0
"""Migrating the largest database there is, 50 GB, takes this long at 14 MB/s."""

_ENDING_S = 60.0
"""An engine that is ending drains for 10 s, writes its last transaction and checkpoints: this is several times as much."""

_AGAIN_S = 0.5


class Reach(Enum):
    """What came of a connection to an engine."""

    GREETED = "greeted"
    SILENT = "silent"
    """It listens, as far as the kernel knows, and says nothing."""
    NOBODY = "nobody"
    """Nobody listens under that name."""
    UNKNOWN = "unknown"
    """We could not even try: the fault is ours, and says nothing of the engine."""


class Suspicion:
    """``suspect`` an engine; ``run`` finds out, in a task."""

    def __init__(
        self,
        *,
        terminate: Callable[[str, bool], Awaitable[None]],
        slack_s: float = _SLACK_S,
        busy_s: float = _BUSY_S,
        ending_s: float = _ENDING_S,
    ) -> None:
        """``terminate`` ends a tenant's engine, by force or in order."""
        self._terminate = terminate
        self._slack_s = slack_s
        self._busy_s = busy_s
        self._ending_s = ending_s
        self._suspected: set[RunningEngine] = set()
        self._arrivals: asyncio.Queue[tuple[RunningEngine, float]] = asyncio.Queue()
        self.hung = 0
        """How many engines had to be killed."""

    def suspect(self, engine: RunningEngine, *, busy_s: float | None = None) -> None:
        """Have a look at an engine, which may be working for ``busy_s`` more for somebody who waits for it.

        One that is ending is seen to its end.
        """
        if engine not in self._suspected and not engine.gone.is_set():
            self._suspected.add(engine)
            self._arrivals.put_nowait((engine, self._busy_s if busy_s is None else busy_s))

    async def run(self) -> None:
        """Look at suspects until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                engine, busy_s = await self._arrivals.get()
                tasks.create_task(self._look_at(engine, busy_s))

    async def _look_at(self, engine: RunningEngine, busy_s: float) -> None:
        try:
            reach = Reach.NOBODY  # which is what is to be expected of one that is ending
            if not engine.ending:
                reach = await self._reach(engine, self._slack_s + (busy_s if engine.serving else _START_S))
            if reach in (Reach.GREETED, Reach.UNKNOWN) or engine.gone.is_set():
                return
            if reach is Reach.NOBODY and await self._ends_in_order(engine):
                return
            engine.ending = True
            self.hung += 1
            _log.error("engine_hung", tenant=engine.tenant, reach=reach.value)
            while not engine.gone.is_set():
                await self._signal(engine, force=True)
                await engine.has_gone(self._slack_s)  # the kernel may have it wait for a disk
        finally:
            self._suspected.discard(engine)

    async def _ends_in_order(self, engine: RunningEngine) -> bool:
        if not engine.ending:
            _log.warning("engine_unreachable", tenant=engine.tenant)
            engine.ending = True  # whoever needs it waits for the next one
            await self._signal(engine, force=False)
        return await engine.has_gone(self._ending_s)

    async def _signal(self, engine: RunningEngine, *, force: bool) -> None:
        with contextlib.suppress(RemoteError):  # without a fork server there are no engines either
            await self._terminate(engine.tenant, force)

    async def _reach(self, engine: RunningEngine, patience_s: float) -> Reach:
        """Try to be greeted until the patience is over, or the engine gone."""
        give_up_at = time.monotonic() + patience_s
        reach = Reach.SILENT
        while not engine.gone.is_set() and (left_s := give_up_at - time.monotonic()) > 0:
            reach = await reach_out(engine.socket, left_s)
            if reach in (Reach.GREETED, Reach.UNKNOWN) or (reach is Reach.NOBODY and engine.serving):
                return reach
            await asyncio.sleep(min(_AGAIN_S, left_s))
        return reach


async def reach_out(path: Path, timeout_s: float) -> Reach:
    """Connect to an engine and wait to be greeted."""
    try:
        connect(path).close()
    except BlockingIOError:  # so many wait to be let in that there is no room in front of the door
        return Reach.SILENT
    except (FileNotFoundError, ConnectionRefusedError):
        return Reach.NOBODY
    except OSError as error:
        _log.error("engine_not_looked_at", error=str(error))
        return Reach.UNKNOWN
    try:
        async with await Client.connect(path, timeout_s=timeout_s):
            return Reach.GREETED
    except RemoteError:
        return Reach.SILENT
