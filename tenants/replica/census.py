"""How many tenants there are on this node, how large, and what waits in their outboxes: for who asks, and no more often."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time

import structlog

from tenants.messages.replica import ReplicaStatus
from tenants.replica.watcher import Watcher

_log = structlog.get_logger()

_SCAN_KEPT_S = 10.0
"""A scan reads every folder of the node, so it is not made anew for every question."""

_PATIENCE_S = 0.5
"""For a new scan: whoever asks once an hour would else be told how it was an hour ago. On a large node the last has to do."""


class Census:
    """Of this node. ``run`` in a task."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._last: ReplicaStatus | None = None
        self._asked = asyncio.Event()
        self._scanned = asyncio.Event()

    async def run(self) -> None:
        """Scan when somebody asks and the last scan is old, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                self._last = await asyncio.to_thread(self._watcher.scan)
            except Exception:
                _log.exception("scan_failed")  # whoever asks next has it tried again
            else:
                self._scanned.set()

    async def counts(self) -> ReplicaStatus:
        """Return the last scan's, and have a new one made when it is old: nobody waits for it long but the first."""
        if self._last is None or not 0 <= time.time() - self._last.scanned_at <= _SCAN_KEPT_S:  # the clock may be set back
            self._scanned.clear()
            self._asked.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._scanned.wait(), None if self._last is None else _PATIENCE_S)
        assert self._last is not None
        return copy.copy(self._last)
