"""The two checksums of LTX, both CRC-64 in its ISO form with the highest bit set, so that none is zero.

One is over a file. The other is over a database: the pages' checksums, each over number and content, folded by exclusive or. A
page's old sum is taken out the way its new one is put in, so the database's is kept up without reading it again.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastcrc.crc64 import go_iso

CHECKSUM_FLAG = 1 << 63
"""Of every checksum; alone, that of an empty database."""


def page_checksum(number: int, content: bytes) -> int:
    """Return the checksum of one page."""
    return CHECKSUM_FLAG | go_iso(content, go_iso(number.to_bytes(4, "big")))


def database_checksum(pages: Iterable[int], start: int = CHECKSUM_FLAG) -> int:
    """Return the checksum of a database: ``start`` with these pages' checksums put in, or those taken out that are in it."""
    total = start
    for checksum in pages:
        total = CHECKSUM_FLAG | (total ^ checksum)
    return total


class FileChecksum:
    """The checksum of a file, piece by piece: of all but itself, its pages as they were before they were compressed."""

    def __init__(self) -> None:
        self._sum: int | None = None

    def add(self, data: bytes) -> None:
        """Take the next piece."""
        self._sum = go_iso(data) if self._sum is None else go_iso(data, self._sum)

    @property
    def value(self) -> int:
        """The checksum of the pieces so far."""
        return CHECKSUM_FLAG | (self._sum or 0)
