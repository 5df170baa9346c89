"""The checksum of each page of a database that is being put together: what was written, and the whole's checksum.

Eight bytes a page, 100 MB for a database of 50 GB, of which memory is used only where pages were written.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from engine.ltx import CHECKSUM_FLAG, lock_page

_GROWTH = 1.25
"""By how much there is more room than was needed: a database that grows by a page in each file is not copied each time."""


class PageChecksums:
    """By page number, from 1. A page that was not written has none: no checksum is 0."""

    def __init__(self, page_size: int) -> None:
        self._lock_page = lock_page(page_size)
        self._sums = np.zeros(0, dtype=np.uint64)
        self.pages = 0

    def resize(self, pages: int) -> None:
        """The database has so many pages now; what lay beyond is forgotten."""
        if pages > len(self._sums):
            grown = np.zeros(int(pages * _GROWTH) + 1, dtype=np.uint64)
            grown[: self.pages] = self._sums[: self.pages]
            self._sums = grown
        elif pages < self.pages:
            self._sums[pages : self.pages] = 0
        self.pages = pages

    def note(self, first: int, checksums: list[int]) -> None:
        """Pages from ``first`` on have been written."""
        self._sums[first - 1 : first - 1 + len(checksums)] = checksums

    @property
    def is_whole(self) -> bool:
        """Whether each page was written but the one that holds the locks."""
        missing = self.pages - int(np.count_nonzero(self._sums[: self.pages]))
        return missing == (1 if self.pages >= self._lock_page else 0)

    @property
    def total(self) -> int:
        """The checksum of the database (``engine.ltx.database_checksum``): each page's, by exclusive or, with the flag."""
        return CHECKSUM_FLAG | int(np.bitwise_xor.reduce(self._sums[: self.pages], initial=np.uint64(0)))

    def runs(self) -> Iterator[tuple[int, int]]:
        """Yield what was written as ranges of page numbers, first and the one after the last, ascending."""
        numbers = np.flatnonzero(self._sums[: self.pages]) + 1
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        edges = [0, *breaks.tolist(), len(numbers)]
        for start, end in pairwise(edges):
            if end > start:
                yield int(numbers[start]), int(numbers[end - 1]) + 1
