"""How many requests each tenant has under way from this process, and until when they may last. No I/O and no waiting."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from engine.protocol import ErrorCode, RemoteError
from engine.protocol.limits import IN_FLIGHT_MAX

_RETRY_AFTER_S = 1


class InFlight:
    """Requests and streams by tenant. Moments are ``time.monotonic``."""

    def __init__(self, tenant_max: int = IN_FLIGHT_MAX) -> None:
        """``tenant_max``: an engine answers thousands of requests a second. A tenant with more under way than its connection
        takes asks faster than its engine answers, and would only fill our memory."""
        self._tenant_max = tenant_max
        self._deadlines: dict[str, list[float]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._deadlines.values()))

    @contextlib.contextmanager
    def place(self, tenant: str, deadline: float) -> Iterator[None]:
        """Count one request of the tenant during the block; ``too_many`` when it has too many."""
        deadlines = self._deadlines.setdefault(tenant, [])
        if len(deadlines) >= self._tenant_max:
            message = f"this database has {self._tenant_max} requests under way"
            raise RemoteError(ErrorCode.TOO_MANY, message, limit=self._tenant_max, retry_after=_RETRY_AFTER_S)
        deadlines.append(deadline)
        try:
            yield
        finally:
            deadlines.remove(deadline)
            if not deadlines:
                del self._deadlines[tenant]

    def busy_until(self, tenant: str) -> float:
        """Return the last deadline of what the tenant has under way, 0 if there is nothing."""
        return max(self._deadlines.get(tenant, ()), default=0.0)
