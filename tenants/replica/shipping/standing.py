"""How one tenant stands: what the store has, what waits, who waits for it, and what keeps it. Pure but for the futures."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass, field

from engine.protocol.errors import moved
from tenants.replica.backoff import Backoff
from tenants.replica.outbox import Listing, OutboxFile
from tenants.replica.ownership.admission import Admission
from tenants.replica.ownership.head import NONE, Head

_COARSE_CLOCK = 5
"""``CLOCK_REALTIME_COARSE`` of linux/time.h, for which Python has no name: the kernel takes files' times from it."""

_GAPS_SAID = 3
"""Looks in a row that find a file without the one before it. The first may fall between the two."""


@dataclass(eq=False)
class Standing:
    """Of one tenant."""

    tenant: str
    admission: Admission | None = None
    head: Head = NONE
    files: deque[OutboxFile] = field(default_factory=deque)
    """Those that follow on the head, as of the last look."""
    stale: list[OutboxFile] = field(default_factory=list)
    """Those that the store has already: this process, or one before it, ended between putting and removing."""
    is_dirty: bool = True
    """Whether its outbox has changed since the last look."""
    has_more: bool = False
    """Whether the last look has left files out, because there were so many."""
    waiters: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)
    backoff: Backoff = field(default_factory=Backoff)
    refused: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Files that are not what they say, and in which version they were not."""
    gaps: int = 0
    admitted_ns: int = 0
    """When the admission was made, by the clock of the files' times."""
    ask_again_at: float = 0.0
    """When it is to be made anew, for files that a living engine left since; of ``time.monotonic``, 0 for not known."""
    fenced: str = ""
    """Why it is not ours any more; empty while it is."""
    is_told: bool = False
    """Whether the host knows."""

    @property
    def is_stuck(self) -> bool:
        """Whether a file that can't be shipped keeps the others."""
        return bool(self.refused) or self.gaps >= _GAPS_SAID

    @property
    def has_gap(self) -> bool:
        """Whether it is to be said that a file is missing."""
        return self.gaps == _GAPS_SAID

    def admitted(self, admission: Admission) -> None:
        """Begin anew from what the store says."""
        self.admission, self.head = admission, admission.head
        self.fenced, self.is_told = "", False
        self.is_dirty = True
        self.admitted_ns, self.ask_again_at = time.clock_gettime_ns(_COARSE_CLOCK), 0.0
        self._wake()

    def listed(self, listing: Listing) -> None:
        """Take what lies in the outbox."""
        versions = {file.name: file.version for file in (*listing.files, *listing.stale)}
        self.refused = {name: version for name, version in self.refused.items() if versions.get(name) == version}
        self.files, self.has_more = deque(listing.files), listing.has_more
        self.stale = [file for file in listing.stale if file.name not in self.refused]
        has_gap = not listing.files and "order" in listing.refused.values()
        self.gaps = self.gaps + 1 if has_gap else 0

    def next_file(self) -> OutboxFile | None:
        """Return the file that is to be shipped now."""
        if not self.files or self.files[0].name in self.refused:
            return None
        return self.files[0]

    def shipped(self, head: Head) -> None:
        """The store has the first of the files."""
        self.files.popleft()
        self.is_dirty |= self.has_more and not self.files
        self.head = head
        self.backoff.reset()
        self._wake()

    def fence(self, reason: str) -> None:
        """It is another node's now."""
        self.fenced, self.is_told = reason, False
        self.files.clear()
        self.stale.clear()
        for _, waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(moved())

    async def reached(self, txid: int) -> None:
        """Return when the store has this transaction; ``moved`` when it never will from here."""
        if self.admission is not None and self.head.txid >= txid:
            return
        waiter = (txid, asyncio.get_running_loop().create_future())
        self.waiters.append(waiter)
        try:
            await waiter[1]
        finally:
            with contextlib.suppress(ValueError):
                self.waiters.remove(waiter)

    def _wake(self) -> None:
        for txid, waiter in self.waiters:
            if txid <= self.head.txid and not waiter.done():
                waiter.set_result(None)
