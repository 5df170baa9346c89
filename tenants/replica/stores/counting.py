"""How many requests a store was asked, by kind: what a bucket's bill is made of."""

from __future__ import annotations

from threading import Lock

KINDS = ("put", "get", "head", "list", "delete")


class Requests:
    """Counts from any thread."""

    def __init__(self) -> None:
        self.by_kind = dict.fromkeys(KINDS, 0)
        self._lock = Lock()

    def add(self, kind: str) -> None:
        """Count one."""
        with self._lock:
            self.by_kind[kind] += 1
