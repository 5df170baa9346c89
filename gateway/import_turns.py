"""Imports into one database take turns: a client that gave up waiting and sends its file again must find the first one there.

Two at a time would each take the other's memories for somebody else's, and both would be kept.
"""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class ImportTurns:
    """A lock for each database that imports, gone with the last who holds it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, tenant: str) -> asyncio.Lock:
        """Return the database's lock."""
        lock = self._locks.get(tenant)
        if lock is None:
            lock = self._locks[tenant] = asyncio.Lock()
        return lock
