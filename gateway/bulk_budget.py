"""One budget for all bulk writers of the node, so that together they leave room for everybody else.

A bulk writer takes a turn for each call to an engine. There are few places at once. While others are at work, a place rests
after each turn as long as the turn took: bulk writing then takes at most ``SHARE`` of what it could take. On an otherwise idle
node nothing rests. Turns go to the tenant that has had the least time, not to the one that asks the most.

Requests that one person waits for never wait here: they only say that they are there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import AsyncIterator

from engine.protocol import ErrorCode, RemoteError

SHARE = 1 / 2
"""Of a place's time, while others are at work."""

PLACES = max(1, (os.cpu_count() or 1) // 2)
"""Engines that write in bulk at once: half the processors stay free, and on a small machine only one transaction is long."""

WAITING_MAX = 64
TENANT_WAITING_MAX = 4
"""Batches that wait for a turn, on the node and of one tenant; the next one is told to come back."""

WAIT_S = 5.0
"""How long a batch waits, well within what its sender does."""

_RETRY_S = 2

_AT_WORK_S = 1.0
"""So long after the last answer others count as at work: an agent's next request often follows the one before."""

HELD_S_MAX = 2.0
"""Whoever holds a place for longer is not writing but waiting for an engine that starts or hangs: the place is given on."""


class BulkBudget:
    """Gives turns to bulk writers."""

    def __init__(self, *, places: int = PLACES, held_s_max: float = HELD_S_MAX) -> None:
        self.held_s_max = held_s_max
        self.seconds_total = 0.0
        """Time that engines spent on bulk writing."""
        self._places = self._free = places
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._had: dict[str, float] = {}
        """Seconds that each tenant has had, counted from what the last one served had when it came; empty when all is quiet."""
        self._served = 0.0
        self._others = 0
        self._others_seen = -_AT_WORK_S

    @property
    def waiting(self) -> int:
        """How many calls wait for a turn."""
        return sum(map(len, self._waiting.values()))

    @contextlib.asynccontextmanager
    async def someone_else(self) -> AsyncIterator[None]:
        """Say that a request which is no bulk writing is at work during the block."""
        self._others += 1
        try:
            yield
        finally:
            self._others -= 1
            self._others_seen = time.monotonic()

    @contextlib.asynccontextmanager
    async def turn(self, tenant: str, *, wait_s: float | None = None) -> AsyncIterator[None]:
        """Wait for a turn and hold it for the block. With ``wait_s``, ``too_many`` when it can't be had in that time."""
        if wait_s is not None and (self.waiting >= WAITING_MAX or len(self._waiting.get(tenant, ())) >= TENANT_WAITING_MAX):
            raise _busy()
        await self._take(tenant, wait_s)
        place = _Place(self, tenant)
        try:
            yield
        finally:
            place.leave()

    def give_back(self, tenant: str, seconds: float) -> None:
        """Count a turn, and free its place after its rest."""
        self.seconds_total += seconds
        self._had[tenant] = self._had.get(tenant, self._served) + seconds
        if self._others or time.monotonic() < self._others_seen + _AT_WORK_S:
            asyncio.get_running_loop().call_later(seconds * (1 / SHARE - 1), self._free_one)
        else:
            self._free_one()

    async def _take(self, tenant: str, wait_s: float | None) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        self._had[tenant] = max(self._had.get(tenant, 0.0), self._served)
        self._give()
        try:
            async with asyncio.timeout(wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._free_one()  # it was given the moment we gave up
            else:
                self._forget(tenant, turn)
            if isinstance(error, TimeoutError):
                raise _busy() from error
            raise

    def _give(self) -> None:
        while self._free and self._waiting:
            tenant = min(self._waiting, key=self._had.__getitem__)
            turn = self._waiting[tenant][0]
            self._forget(tenant, turn)
            if not turn.done():  # or else given up, which its task has not noticed yet
                self._served = self._had[tenant]
                self._free -= 1
                turn.set_result(None)

    def _forget(self, tenant: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(tenant, deque())
        if turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[tenant]

    def _free_one(self) -> None:
        self._free += 1
        self._give()
        if self._free == self._places and not self._waiting:
            self._had.clear()
            self._served = 0.0


class _Place:
    """A place that is held: it is given back once, when its holder leaves or has held it for long."""

    def __init__(self, budget: BulkBudget, tenant: str) -> None:
        self._budget = budget
        self._tenant = tenant
        self._taken_at = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(budget.held_s_max, self._give_back)

    def leave(self) -> None:
        if not self._timer.cancelled():
            self._give_back()

    def _give_back(self) -> None:
        self._timer.cancel()
        self._budget.give_back(self._tenant, min(time.monotonic() - self._taken_at, self._budget.held_s_max))


def _busy() -> RemoteError:
    message = "too many large changes wait for their turn; nothing was changed"
    return RemoteError(ErrorCode.TOO_MANY, message, retry_after=_RETRY_S)
