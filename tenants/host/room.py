"""Keeps the engines within the memory they may hold: measures a few at a time, ends the least recently used, lets starts wait.

A twentieth of the memory is kept free, so that a start hardly ever waits. When nothing can be freed, because all engines
are in use, who waits is refused in the end: memory that engines hold is never taken from requests in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from engine.catalogue.lifecycle import Idleness
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.processes import EngineMemory
from tenants.host.memory import Memory
from tenants.host.recency import Ask, Eviction, Recency

_log = structlog.get_logger()

_TICK_S = 1.0
_HURRY_S = 0.1
"""Between two looks while a start waits for room."""

_FREE_SHARE = 1 / 20

_WAIT_S = 3.0
"""How long a start waits for room: longer than engines take to end, shorter than a request's patience."""

_RETRY_AFTER_S = 2


AskToEnd = Callable[[Ask], Awaitable[Idleness | None]]
"""Asks an engine to end; ``None`` when it does not answer, or is gone."""

Measure = Callable[[list[str]], Awaitable[list[EngineMemory]]]


class Room:
    """``reserve`` before an engine starts, ``release`` when it has ended; ``run`` in a task."""

    def __init__(self, memory: Memory, recency: Recency, *, measure: Measure, ask_to_end: AskToEnd) -> None:
        self._memory = memory
        self._recency = recency
        self._measure = measure
        self._ask_to_end = ask_to_end
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()
        self._wanted = asyncio.Event()
        self.evictions = 0
        self.refused = 0
        """How many starts found no room in time."""

    async def reserve(self, tenant: str) -> None:
        """Return when there is room for the tenant's engine, and count it; ``unavailable`` when there will be none soon."""
        if tenant in self._memory:
            return
        if not self._waiting and self._memory.fits():
            self._memory.add(tenant, time.monotonic())
            return
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (tenant, room)
        self._waiting.append(entry)
        self._wanted.set()
        try:
            async with asyncio.timeout(_WAIT_S):
                await room
        except BaseException as error:
            if entry in self._waiting:
                self._waiting.remove(entry)
            else:
                self.release(tenant)  # it was granted in the moment in which it was given up
            if isinstance(error, TimeoutError):
                self.refused += 1
                message = "the node's memory is in use by other databases"
                raise RemoteError(ErrorCode.UNAVAILABLE, message, retry_after=_RETRY_AFTER_S) from None
            raise

    def release(self, tenant: str) -> None:
        """Count the tenant's engine no more."""
        self._memory.remove(tenant)
        self._admit()

    async def run(self) -> None:
        """Measure and make room until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HURRY_S if self._waiting else _TICK_S):
                    await self._wanted.wait()
            self._wanted.clear()
            await self._measure_some()
            while self._is_short() and await self._evict_one():
                pass

    def _admit(self) -> None:
        while self._waiting and self._memory.fits():
            tenant, room = self._waiting.popleft()
            self._memory.add(tenant, time.monotonic())
            room.set_result(None)

    async def _measure_some(self) -> None:
        due = self._memory.due(time.monotonic())
        if due:
            with contextlib.suppress(RemoteError):  # the fork server is away, and its engines with it
                for engine in await self._measure(due):
                    self._memory.measured(engine.tenant, engine.private_bytes, time.monotonic())
        self._admit()

    def _is_short(self) -> bool:
        memory = self._memory
        wanted = len(self._waiting) * memory.mean_bytes
        return memory.staying_bytes + wanted > memory.bytes_max * (1 - _FREE_SHARE)

    async def _evict_one(self) -> bool:
        """End the least recently used engine; whether there was one."""
        eviction = Eviction(self._recency, passed_over=self._memory.leaving)
        while (ask := eviction.next(time.monotonic())) is not None:
            answer = await self._ask_to_end(ask)
            if answer is None:
                eviction.passed(ask.tenant, time.monotonic())
            elif answer.hibernating:
                self.evictions += 1
                _log.info("engine_evicted", tenant=ask.tenant, held_bytes=self._memory.held_bytes)
                return True
            else:
                eviction.refused(ask, answer.idle_s, time.monotonic())
        return False
