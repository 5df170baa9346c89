"""How long a tenant whose engine keeps dying must wait. Pure: the time is passed in, in seconds of one clock.

Two rules, for each tenant alone. An engine that dies before it serves is started again at once twice; then the pauses double
from 1 s to 30 s until one serves. An engine that serves and dies, at the same request perhaps, again and again, may do so
20 times a minute.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

_FAILURES_FREE = 3
"""So often an engine may fail before it answers anything; then its tenant waits, longer each time."""

_PAUSE_MAX_S = 30.0

SERVED_CRASHES_MAX = 20
"""Within ``WINDOW_S``. A client that repeats what kills its engine every second gets here within half a minute, and from then
on costs the node a start every three seconds; a person who tries again never does."""

WINDOW_S = 60.0


@dataclass
class _Record:
    failures: int = 0
    """Starts that failed since the last one that served."""
    failed_until: float = 0.0
    served_crashes: deque[float] = field(default_factory=lambda: deque(maxlen=SERVED_CRASHES_MAX))
    """When engines that had served died, the last of them."""

    def is_over(self, now: float) -> bool:
        return not self.failures and (not self.served_crashes or self.served_crashes[-1] + WINDOW_S <= now)


class Crashes:
    """Remembers who crashes; tenants whose engines don't are not in it."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def __len__(self) -> int:
        return len(self._records)

    def served(self, tenant: str) -> None:
        """Note that the tenant's engine answers requests: its start, at least, did not fail."""
        record = self._records.get(tenant)
        if record is not None:
            record.failures, record.failed_until = 0, 0.0
            if not record.served_crashes:
                del self._records[tenant]

    def forget(self, tenant: str) -> None:
        """Let the tenant's next engine start at once: it gets another database than those that crashed had."""
        self._records.pop(tenant, None)

    def crashed(self, tenant: str, now: float, *, served: bool) -> None:
        """Note that the tenant's engine has ended by itself."""
        record = self._records.setdefault(tenant, _Record())
        if served:
            record.served_crashes.append(now)
            return
        record.failures += 1
        if record.failures >= _FAILURES_FREE:
            record.failed_until = now + min(_PAUSE_MAX_S, 2.0 ** (record.failures - _FAILURES_FREE))

    def wait_s(self, tenant: str, now: float) -> float:
        """Return for how long no engine may be started for the tenant, 0 if one may."""
        record = self._records.get(tenant)
        if record is None:
            return 0.0
        if record.is_over(now):
            del self._records[tenant]
            return 0.0
        until = record.failed_until
        if len(record.served_crashes) == SERVED_CRASHES_MAX:
            until = max(until, record.served_crashes[0] + WINDOW_S)
        return max(0.0, until - now)
