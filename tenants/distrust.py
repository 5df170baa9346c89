"""Who broke the protocol lately, and is not asked again for a while.

Finding out that an engine's answer is nonsense costs a moment of everybody's time. One that was taken over is asked more and
more seldom, so that no number of requests makes it dear.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from engine.protocol import ErrorCode, RemoteError

_PAUSE_MAX_S = 60.0
_FORGIVEN_S = 600.0
"""After so long without another breach the next one is the first."""

_TENANTS_MAX = 10_000
"""Those held; the ones who broke it longest ago are forgotten first."""


class Distrust:
    """The breaches of each tenant's engine. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._breaches: dict[str, tuple[int, float]] = {}
        """How many, and when the last was."""

    def note(self, tenant: str, error: RemoteError) -> None:
        """Take notice of how a call to this tenant's engine failed."""
        if error.code != ErrorCode.BROKEN or self._pause_s(tenant) > 0:
            return  # those who were under way at the same time are one breach
        count, at = self._breaches.pop(tenant, (0, 0.0))
        now = self._clock()
        self._breaches[tenant] = (count + 1 if now - at < _FORGIVEN_S else 1, now)
        if len(self._breaches) > _TENANTS_MAX:
            del self._breaches[next(iter(self._breaches))]

    def check(self, tenant: str) -> None:
        """``broken``, with the seconds to wait, while this tenant's engine is not to be asked."""
        if (pause_s := self._pause_s(tenant)) > 0:
            message = "the database's engine has given answers that can't be used, and is not asked for a moment"
            raise RemoteError(ErrorCode.BROKEN, message, retry_after=math.ceil(pause_s))

    def _pause_s(self, tenant: str) -> float:
        count, at = self._breaches.get(tenant, (0, 0.0))
        return at + min(_PAUSE_MAX_S, 2.0 ** min(count - 1, 30)) - self._clock() if count else 0.0
