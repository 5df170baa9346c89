"""Keeps this node's lease at the object store: taken at the start, renewed while the process lives, given back at its end.

While the store can't be reached nothing is given up: engines go on, and what they capture waits. A lease that is lost is taken
anew, as another generation: what was known under the one before is to be asked again.

A node that was cut off from power left a lease that still holds, and its tenants' owner is that node. Whoever starts on the
same disk is its successor (``engram up`` holds the disk's lock), and ends that lease.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from pathlib import Path

import structlog

from tenants.replica.backoff import Backoff, Breaker
from tenants.replica.objects import ObjectChanged, StoreRefused, StoreUnavailable
from tenants.replica.ownership.lease import LeaseLost, NodeLease

_log = structlog.get_logger()

_RENEW_S = 10.0
"""A third of the lease: two renewals may fail in a row."""

_RELEASE_S = 3.0
"""At the end, nobody waits longer for a store that does not answer: the lease then runs out by itself."""

_FAILURES = (StoreUnavailable, StoreRefused, ObjectChanged)
"""A lease that somebody changes while we take it is one that we don't have yet."""


class Tenure:
    """Of this process. ``run`` in a task."""

    def __init__(self, lease: NodeLease, breaker: Breaker, threads: Executor, *, memory: Path) -> None:
        """``memory``: a file that outlives the node, for the name of the one that this disk belonged to last."""
        self.lease = lease
        self._memory = memory
        self.generation = 0
        """Another number for each time the lease was taken."""
        self._breaker = breaker
        self._threads = threads
        self._backoff = Backoff()
        self._held = asyncio.Event()

    async def held(self) -> None:
        """Return when the lease was taken."""
        await self._held.wait()

    @property
    def left_s(self) -> float:
        """For how long the lease holds if it is not renewed."""
        return max(0.0, self.lease.left_s) if self._held.is_set() else 0.0

    async def run(self) -> None:
        """Take the lease and keep it, until cancelled."""
        while True:
            pause_s = await self._step()
            await asyncio.sleep(pause_s)

    async def _step(self) -> float:
        """Take or renew the lease; return after how many seconds to do so again."""
        loop = asyncio.get_running_loop()
        try:
            if self._held.is_set():
                await loop.run_in_executor(self._threads, self.lease.renew)
            else:
                await loop.run_in_executor(self._threads, self._take)
                self.generation += 1
                self._held.set()
                _log.info("lease_taken", generation=self.generation)
        except LeaseLost as lost:
            _log.error("lease_lost", reason=str(lost))
            self._held.clear()
            self._breaker.succeeded()
            return self._backoff.next_s()
        except _FAILURES as error:
            _log.warning("lease_not_renewed", error=type(error).__name__, left_s=round(self.left_s, 1))
            self._breaker.failed()
            return min(_RENEW_S, self._backoff.next_s())
        self._backoff.reset()
        self._breaker.succeeded()
        return _RENEW_S

    def _take(self) -> None:
        self.lease.acquire()
        try:
            before = self._memory.read_text(encoding="ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            before = ""
        if before == self.lease.node:
            return
        if before:
            self.lease.release_predecessor(before)
        self._memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._memory.with_suffix(".new")
        draft.write_text(self.lease.node, encoding="ascii")
        draft.replace(self._memory)

    async def release(self) -> None:
        """Give the lease back, if it is held and the store answers. Nothing may be shipped afterwards."""
        if not self._held.is_set():
            return
        self._held.clear()
        try:
            async with asyncio.timeout(_RELEASE_S):
                await asyncio.get_running_loop().run_in_executor(self._threads, self.lease.release)
        except (TimeoutError, LeaseLost, *_FAILURES) as error:
            _log.warning("lease_not_released", error=type(error).__name__)
        else:
            _log.info("lease_released")
