"""How much memory the engines hold, from samples of a few. Pure: measuring is done elsewhere, and the time is passed in.

Only what an engine shares with no other process counts. One that was not measured yet counts as much as the others do on
average.
"""

from __future__ import annotations

from itertools import islice

SAMPLE = 16
"""Engines measured at once. Each costs half a millisecond of the fork server, which forks nothing meanwhile; a thousand are
through in a minute."""

AGAIN_S = 10.0
"""No engine is measured more often, so that a node with few of them spends nothing on it."""

SETTLED_S = 1.0
"""After its start an engine's memory still grows."""

_FIRST_GUESS_BYTES = 8 * 1024 * 1024
"""What an engine is taken to hold until one was measured: more than most that are idle."""


class Memory:
    """What each engine holds, and all together. Bytes throughout."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._new: dict[str, float] = {}
        """Engines not measured yet, with the moment they were added, the oldest first."""
        self._measured: dict[str, tuple[float, int]] = {}
        """The others, with the moment and the outcome of their last measurement, in that order."""
        self._measured_bytes = 0
        self.leaving: set[str] = set()
        """Those that are ending."""

    def __contains__(self, tenant: str) -> bool:
        return tenant in self._new or tenant in self._measured

    def add(self, tenant: str, now: float) -> None:
        """Count an engine that is about to start, or was found running."""
        if tenant not in self:
            self._new[tenant] = now

    def remove(self, tenant: str) -> None:
        """Count an engine no more."""
        self._new.pop(tenant, None)
        self._measured_bytes -= self._measured.pop(tenant, (0.0, 0))[1]
        self.leaving.discard(tenant)

    def leaves(self, tenant: str, *, leaving: bool) -> None:
        """Note whether an engine is ending: what it holds will then be free without anybody else's end."""
        if leaving and tenant in self:
            self.leaving.add(tenant)
        else:
            self.leaving.discard(tenant)

    def measured(self, tenant: str, private_bytes: int, now: float) -> None:
        """Take note of a measurement."""
        if tenant in self:
            self._new.pop(tenant, None)
            self._measured_bytes += private_bytes - self._measured.pop(tenant, (0.0, 0))[1]
            self._measured[tenant] = (now, private_bytes)

    def due(self, now: float) -> list[str]:
        """Return the few engines whose turn it is to be measured, those first that never were."""
        new = [tenant for tenant, added_at in islice(self._new.items(), SAMPLE) if now - added_at >= SETTLED_S]
        rest = islice(self._measured.items(), SAMPLE - len(new))
        return new + [tenant for tenant, (measured_at, _) in rest if now - measured_at >= AGAIN_S]

    @property
    def mean_bytes(self) -> int:
        """What an engine holds on average, which is what a new one is expected to."""
        return self._measured_bytes // len(self._measured) if self._measured else _FIRST_GUESS_BYTES

    @property
    def held_bytes(self) -> int:
        """What all engines hold."""
        return self._measured_bytes + len(self._new) * self.mean_bytes

    @property
    def staying_bytes(self) -> int:
        """What those hold that are not ending."""
        return self.held_bytes - sum(map(self._bytes, self.leaving))

    def fits(self) -> bool:
        """Whether there is room for one more engine. The only one always fits, or nothing would ever run."""
        return self.held_bytes + self.mean_bytes <= self.bytes_max or not (self._new or self._measured)

    def _bytes(self, tenant: str) -> int:
        return self._measured[tenant][1] if tenant in self._measured else self.mean_bytes
