"""A rate limit in this process's memory: the generic cell rate algorithm (ITU-T I.371), one number per subject.

The number is the theoretical arrival time: when the bucket will be full again. A subject that has been quiet that long costs
no memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_SUBJECTS_BEFORE_SWEEP = 10_000

_ROUNDING_S = 1e-6
"""What sums of floating-point seconds are allowed to be off."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether one request may pass, and what to tell the client."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: int
    """Seconds until the whole burst is there again."""
    retry_after_s: int
    """Seconds until the next request can pass; 0 when one could pass now."""


class RateLimiter:
    """Limits per subject. The clock is passed in: seconds that never run backwards."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._full_at: dict[str, float] = {}
        self._sweep_above = _SUBJECTS_BEFORE_SWEEP

    def take(self, subject: str, *, per_second: float, burst: int) -> Decision:
        """Let one request of ``subject`` pass, or not."""
        now = self._clock()
        interval_s = 1 / per_second
        full_at = max(self._full_at.get(subject, now), now)
        allowed = full_at + interval_s - now <= burst * interval_s + _ROUNDING_S
        if allowed:
            full_at += interval_s
            self._remember(subject, full_at, now)
        missing_s = full_at - now
        remaining = max(0, math.floor(burst - missing_s / interval_s + 1e-6))
        wait_s = 0.0 if remaining else missing_s + interval_s - burst * interval_s
        return Decision(
            allowed=allowed,
            limit=burst,
            remaining=remaining,
            reset_s=math.ceil(missing_s - _ROUNDING_S),
            retry_after_s=max(1, math.ceil(wait_s - _ROUNDING_S)) if not allowed else 0,
        )

    def _remember(self, subject: str, full_at: float, now: float) -> None:
        self._full_at[subject] = full_at
        if len(self._full_at) > self._sweep_above:
            self._full_at = {name: moment for name, moment in self._full_at.items() if moment > now}
            self._sweep_above = max(_SUBJECTS_BEFORE_SWEEP, 2 * len(self._full_at))
