"""Who of the running engines was used least recently, learnt from them bit by bit. Pure: the time is passed in.

Requests go from the gateway to the engines, past the host, which therefore knows of each engine only a moment at or after
which it was last used. The truth is found by asking: whoever may be the oldest is asked to end if it has been idle for at
least as long as the next one may have been. If it has, it is the least recently used of all. If not, it says how long it
has been idle, which is the truth about one more, and the next is asked. After a number of vain questions the oldest of those
who have answered will do.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import dataclass

IN_USE_S = 1.0
"""An engine that was asked something within this time is in use: to end it would be to start it again at once."""

ASKS_MAX = 32
"""Of one eviction, the last for the best that is known by then. Each costs about a millisecond. What was learnt is kept: the
next eviction goes on from there."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Whom to ask to end, if nothing was asked of it for ``idle_s``."""

    tenant: str
    idle_s: float


class Recency:
    """When each engine was last used, at the earliest. Seconds of one clock throughout."""

    def __init__(self) -> None:
        self._used: dict[str, float] = {}

    def add(self, tenant: str, at: float) -> None:
        """Know an engine that was not idle at this moment: it started then."""
        self._used.setdefault(tenant, at)

    def used(self, tenant: str, at: float) -> None:
        """Note that an engine, if it is known, was not idle at this moment."""
        if tenant in self._used:
            self._used[tenant] = max(at, self._used[tenant])

    def forget(self, tenant: str) -> None:
        """Forget an engine that has ended."""
        self._used.pop(tenant, None)

    def oldest(self, count: int, passed_over: Collection[str]) -> list[tuple[float, str]]:
        """Return those that may have been idle longest, with the moment."""
        known = ((at, tenant) for tenant, at in self._used.items() if tenant not in passed_over)
        return heapq.nsmallest(count, known)


class Eviction:
    """The search for one engine to end: ``next`` says whom to ask, ``refused`` takes the answer."""

    def __init__(self, recency: Recency, *, passed_over: Collection[str] = ()) -> None:
        """``passed_over`` are those that are ending already, or are not to be asked."""
        self._recency = recency
        self._passed_over = set(passed_over)
        self._last_uses: dict[str, float] = {}
        self._asks = 0

    def next(self, now: float) -> Ask | None:
        """Return whom to ask; ``None`` when nobody is left who may have been idle."""
        if self._asks == ASKS_MAX:
            return None
        self._asks += 1
        if self._asks == ASKS_MAX:
            return self._best_known(now)
        oldest = self._recency.oldest(2, self._passed_over)
        if not oldest:
            return None
        at, tenant = oldest[0]
        if now - at < IN_USE_S:
            return None
        next_at = oldest[1][0] if len(oldest) > 1 else now
        return Ask(tenant, max(IN_USE_S, now - next_at))

    def refused(self, ask: Ask, idle_s: float, now: float) -> None:
        """Take note of an engine that goes on and says how long it has been idle."""
        if idle_s >= ask.idle_s:  # it would have ended, had nothing been in flight
            self.passed(ask.tenant, now)
            return
        self._last_uses[ask.tenant] = now - idle_s
        self._recency.used(ask.tenant, now - idle_s)

    def passed(self, tenant: str, now: float) -> None:
        """Take note of an engine that is busy, or does not answer: it is asked no more."""
        self._passed_over.add(tenant)
        self._last_uses.pop(tenant, None)
        self._recency.used(tenant, now)

    def _best_known(self, now: float) -> Ask | None:
        if not self._last_uses:
            return None
        tenant = min(self._last_uses, key=self._last_uses.__getitem__)
        idle_s = now - self._last_uses[tenant]
        return Ask(tenant, idle_s) if idle_s >= IN_USE_S else None
