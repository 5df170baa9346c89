"""How many long transfers one tenant may have under way: each holds a file, a snapshot or a connection for minutes."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from gateway.api.errors import Problem

TRANSFERS_MAX = 2
_RETRY_S = 5


class Places:
    """Counts the transfers of each tenant."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    @contextlib.contextmanager
    def take(self, tenant: str) -> Iterator[None]:
        """Hold a place for the block; ``rate_limited`` when the tenant has none left."""
        if self._taken[tenant] >= TRANSFERS_MAX:
            detail = f"At most {TRANSFERS_MAX} exports and imports at a time."
            raise Problem("rate_limited", detail, headers={"Retry-After": str(_RETRY_S)}, retry_after=_RETRY_S)
        self._taken[tenant] += 1
        try:
            yield
        finally:
            self._taken[tenant] -= 1
            if not self._taken[tenant]:
                del self._taken[tenant]
