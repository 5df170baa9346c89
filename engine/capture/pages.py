"""Pages as they lie in the database's file once a checkpoint has put them there: with their checksum, nothing in their gaps.

In the log the last eight bytes of a page mean nothing; ``cksumvfs`` stamps them when a page is written to the file: two sums
over the words before, little-endian whatever the machine.

``secure_delete`` overwrites a cell where it lies when it is deleted. But when a page is balanced, cells go to its neighbours,
and copies of them stay in the gap between the page's cell pointers and its cells. A row is deleted from the neighbour later,
its copy is not: after 60 memories and 60 changes, in seven databases of ten. Nobody reads the gap, so zeros fill it.
Page format: https://www.sqlite.org/fileformat2.html, section 1.6.

The checkpointer and the capture both use this, so that what is carried away is what the file holds. No I/O.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.capture import sums

CHECKSUM_BYTES = 8

_FILE_HEADER_BYTES = 100
"""Before the b-tree header of page 1."""

_HEADER_BYTES = {2: 12, 5: 12, 10: 8, 13: 8}
"""By the page's type: interior and leaf pages of indexes and tables. Others begin with the number of a page."""

_WIPED_PAGES_MAX = 2 << 24
"""In a file of fewer pages (128 GiB), the first byte of what is no b-tree page is 0 or 1, and so no type."""

_HEADER = struct.Struct(">BHHH")


class PageDamaged(Exception):
    """A page of the file has not got the checksum that it should have."""


class PageForm:
    """The pages of one database."""

    def __init__(self, page_bytes: int, *, has_checksums: bool) -> None:
        """``has_checksums``: whether the last bytes of each page are reserved for one. Without, pages are left as they are."""
        self.page_bytes = page_bytes
        self.has_checksums = has_checksums
        self._weights = sums.weights((page_bytes - CHECKSUM_BYTES) // 4)

    def finish(self, data: bytearray, numbers: Sequence[int], *, database_pages: int) -> None:
        """Change the pages in ``data``, which have these ``numbers``, into what lies in the file of a database of that size."""
        if not self.has_checksums:
            return
        if database_pages < _WIPED_PAGES_MAX:
            for place, number in enumerate(numbers):
                self._wipe(data, place * self.page_bytes, number)
        words = np.frombuffer(data, "<u4").reshape(len(numbers), -1)
        words[:, -2:] = self._sums(words)

    def are_sound(self, data: bytes | bytearray) -> npt.NDArray[np.bool_]:
        """Return which of the pages have the checksum that they should have."""
        words = np.frombuffer(data, "<u4").reshape(-1, self.page_bytes // 4)
        if not self.has_checksums:
            return np.ones(len(words), np.bool_)
        sound: npt.NDArray[np.bool_] = (self._sums(words) == words[:, -2:]).all(axis=1)
        return sound

    def _wipe(self, data: bytearray, start: int, number: int) -> None:
        begin = start + _FILE_HEADER_BYTES if number == 1 else start
        kind, _, cells, content = _HEADER.unpack_from(data, begin)
        if (header_bytes := _HEADER_BYTES.get(kind)) is None:
            return
        first, last = begin + header_bytes + 2 * cells, start + (content or 65536)
        if first < last <= start + self.page_bytes - CHECKSUM_BYTES:
            data[first:last] = bytes(last - first)

    def _sums(self, words: npt.NDArray[np.uint32]) -> sums.Words:
        return self._weights.sums(words[:, :-2])
