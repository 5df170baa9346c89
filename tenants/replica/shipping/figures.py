"""What the replicator tells of its work: counts since its start, and how late files were."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

_LAGS_KEPT = 1000


@dataclass
class Figures:
    """Counted by whoever does it."""

    shipped: int = 0
    shipped_bytes: int = 0
    failures: int = 0
    """Attempts that failed, of whatever reason."""
    lags_s: deque[float] = field(default_factory=lambda: deque(maxlen=_LAGS_KEPT))
    """From a file's capture to its acknowledgement by the store, of the last thousand."""

    changed: dict[str, int] = field(default_factory=dict)
    """Tenants of which something was shipped, and up to which transaction, since somebody looked after their history."""

    def note(self, *, tenant: str, txid: int, size: int, lag_s: float) -> None:
        """Count a file that the store has."""
        self.changed[tenant] = txid
        self.shipped += 1
        self.shipped_bytes += size
        self.lags_s.append(max(0.0, lag_s))  # the clock may have been set back in between

    def lag_s(self, share: float) -> float:
        """Return the smallest lag that at least ``share`` of them are not above, 0 if there is none (nearest rank)."""
        ordered = sorted(self.lags_s)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
