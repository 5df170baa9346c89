"""The queue in front of starting: few engines start at once, a bounded number waits, nobody has more than one place.

``Places`` decides, without a clock and without waiting; ``StartQueue`` lets coroutines wait by it. A place is given up when
the engine serves or has ended, and after a while by one that starts slowly, which goes on beside the queue: a migration
of one large database holds up no others.
"""

from __future__ import annotations

import asyncio

from engine.protocol import ErrorCode, RemoteError

_WAITING_PER_SLOT = 32
"""A start takes some 20 ms of a core, so that the last in a full queue waits about a second: far less than a request may."""

_SLOW_START_S = 2.0
"""A hundred times what a start takes: who needs longer migrates, or waits for its predecessor to end."""

_RETRY_AFTER_S = 2
"""By then a queue that was full has been through."""


class QueueFull(Exception):
    """As many as may are waiting."""


class Places:
    """Who starts and who waits, first come, first served. A tenant is in it at most once."""

    def __init__(self, *, slots: int, waiting_max: int) -> None:
        self._slots = slots
        self._waiting_max = waiting_max
        self.starting: set[str] = set()
        self.waiting: dict[str, None] = {}

    def ask(self, tenant: str) -> bool:
        """Take a place: whether it may start now. ``QueueFull`` if there is none to wait in."""
        if tenant in self.starting:
            return True
        if tenant in self.waiting:
            return False
        if len(self.starting) < self._slots:
            self.starting.add(tenant)
            return True
        if len(self.waiting) >= self._waiting_max:
            raise QueueFull
        self.waiting[tenant] = None
        return False

    def leave(self, tenant: str) -> list[str]:
        """Give up the tenant's place, if it has one, and return those whose turn it is now."""
        self.starting.discard(tenant)
        self.waiting.pop(tenant, None)
        begin = []
        while self.waiting and len(self.starting) < self._slots:
            following = next(iter(self.waiting))
            del self.waiting[following]
            self.starting.add(following)
            begin.append(following)
        return begin


class StartQueue:
    """``enter`` before an engine is forked, ``forked`` when it was, ``leave`` when it serves or will not."""

    def __init__(self, *, slots: int, slow_start_s: float = _SLOW_START_S) -> None:
        self._places = Places(slots=slots, waiting_max=slots * _WAITING_PER_SLOT)
        self._slow_start_s = slow_start_s
        self._turns: dict[str, asyncio.Future[None]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.refused = 0
        """How many found the queue full."""

    @property
    def starting(self) -> int:
        """How many start now."""
        return len(self._places.starting)

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._places.waiting)

    async def enter(self, tenant: str) -> None:
        """Return when it is the tenant's turn; ``unavailable`` when too many wait already."""
        try:
            if self._places.ask(tenant):
                return
        except QueueFull:
            self.refused += 1
            message = "too many databases are being woken at once"
            raise RemoteError(ErrorCode.UNAVAILABLE, message, retry_after=_RETRY_AFTER_S) from None
        turn = self._turns[tenant] = asyncio.get_running_loop().create_future()
        try:
            await turn
        except BaseException:  # given up, perhaps in the moment in which its turn came
            self._turns.pop(tenant, None)
            self.leave(tenant)
            raise

    def forked(self, tenant: str) -> None:
        """Note that the tenant's engine is starting by itself now."""
        if tenant in self._places.starting:
            self._timers[tenant] = asyncio.get_running_loop().call_later(self._slow_start_s, self.leave, tenant)

    def leave(self, tenant: str) -> None:
        """Give up the tenant's place; harmless when it has none."""
        if (timer := self._timers.pop(tenant, None)) is not None:
            timer.cancel()
        for following in self._places.leave(tenant):
            turn = self._turns.pop(following)
            if not turn.done():
                turn.set_result(None)
