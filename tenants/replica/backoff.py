"""How long to wait before trying again: for one tenant, and for the store as a whole. No I/O; the clock is passed in.

A tenant whose attempt failed waits a little, then twice as long, up to half a minute, each time a random part of it, so that
thousands do not come back in step. When attempts fail one after another, it is the store: then one attempt is made every few
seconds for all of them, and the first that succeeds lets everybody go on at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

FIRST_S = 0.1
"""A reset connection is over at once."""

CAP_S = 30.0

PROBE_CAP_S = 5.0
"""Between two attempts at a store that is down: one request for a whole node costs nobody anything, and what waits has waited
no longer than that when the store is back."""

FAILURES_IN_A_ROW = 3
"""Then it is the store, and not one tenant's objects."""


class Backoff:
    """One tenant's."""

    __slots__ = ("_random", "failures")

    def __init__(self, random_share: Callable[[], float] = random.random) -> None:
        self._random = random_share
        self.failures = 0

    def next_s(self) -> float:
        """Count a failure, and return how long to wait: between half and all of 0.1, 0.2, 0.4 … 30 s."""
        full = min(CAP_S, FIRST_S * 2.0 ** min(self.failures, 20))
        self.failures += 1
        return full * (0.5 + self._random() / 2)

    def reset(self) -> None:
        """Forget the failures."""
        self.failures = 0


class Breaker:
    """The store's: closed while it answers."""

    def __init__(self, monotonic: Callable[[], float], random_share: Callable[[], float] = random.random) -> None:
        self._monotonic = monotonic
        self._random = random_share
        self._in_a_row = 0
        self._probe_at = 0.0
        self._answers = asyncio.Event()
        self._answers.set()
        self.failures = 0
        """All that there were."""

    @property
    def is_open(self) -> bool:
        """Whether the store did not answer when it was last asked."""
        return not self._answers.is_set()

    def succeeded(self) -> None:
        """The store has answered, if only to say no."""
        self._in_a_row = 0
        self._answers.set()

    def failed(self) -> None:
        """It has not."""
        self.failures += 1
        self._in_a_row += 1
        if self._in_a_row >= FAILURES_IN_A_ROW:
            self._answers.clear()
            self._probe_at = self._monotonic() + self._interval_s()

    async def permission(self) -> None:
        """Return when the store answers, or it is the caller's turn to find out whether it does."""
        while self.is_open:
            left = self._probe_at - self._monotonic()
            if left <= 0:
                self._probe_at = self._monotonic() + self._interval_s()  # the next one waits as long again
                return
            try:
                await asyncio.wait_for(self._answers.wait(), left)
            except TimeoutError:
                continue

    def _interval_s(self) -> float:
        full = min(PROBE_CAP_S, FIRST_S * 2.0 ** min(self._in_a_row - FAILURES_IN_A_ROW, 20))
        return float(full * (0.5 + self._random() / 2))
