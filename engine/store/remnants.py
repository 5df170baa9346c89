"""Finds what SQLite leaves of cells in the gaps of b-tree pages, and makes the page without it. No I/O.

``secure_delete`` overwrites a cell where it lies when it is deleted. But when a page is balanced, cells go to its neighbours,
and copies of them stay in the gap between the page's cell pointers and its cells. A row is deleted from the neighbour later,
its copy is not: after 60 memories and 60 changes, in seven databases of ten. Nobody reads the gap, so zeros may fill it.

Page format: https://www.sqlite.org/fileformat2.html, section 1.6. The last eight bytes of a page are the checksum that
``cksumvfs`` looks at: two sums over the words before, as in the log, little-endian whatever the machine.
"""

from __future__ import annotations

import struct

from engine.store.connection import CHECKSUM_BYTES

_FILE_HEADER_BYTES = 100
"""Before the b-tree header of page 1."""

_HEADER_BYTES = {2: 12, 5: 12, 10: 8, 13: 8}
"""By the page's type: interior and leaf pages of indexes and tables. Others begin with the number of a page."""

PAGES_MAX = 2 << 24
"""In a file of fewer pages (128 GiB), the first byte of what is no b-tree page is 0 or 1, and so no type."""

_HEADER = struct.Struct(">BHHH")
_MASK = 2**32 - 1


def without(page: bytes, number: int) -> bytes | None:
    """Return the page, the first having ``number`` 1, with its gap filled with zeros; ``None`` if there is nothing in it."""
    begin = _FILE_HEADER_BYTES if number == 1 else 0
    kind, _, cells, content = _HEADER.unpack_from(page, begin)
    if kind not in _HEADER_BYTES:
        return None
    first, last = begin + _HEADER_BYTES[kind] + 2 * cells, content or 65536
    if first > last or last > len(page) - CHECKSUM_BYTES or not page[first:last].strip(b"\0"):
        return None
    cleaned = page[:first] + bytes(last - first) + page[last:-CHECKSUM_BYTES]
    return cleaned + _checksum(cleaned)


def _checksum(data: bytes) -> bytes:
    s = t = 0
    for a, b in struct.iter_unpack("<2I", data):
        s = (s + a + t) & _MASK
        t = (t + b + s) & _MASK
    return struct.pack("<2I", s, t)
