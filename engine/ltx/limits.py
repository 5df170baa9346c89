"""Every bound of an LTX file, each with where it comes from, and the error of one that is no such file."""

from __future__ import annotations

MAGIC = b"LTX1"
"""Of every version. What is read and written here is the third, whose pages have an index behind them."""

HEADER_BYTES = 100
RESERVED_BYTES = 20
"""At the header's end, zero."""

PAGE_HEADER_BYTES = 6
PAGE_LENGTH_BYTES = 4
INDEX_LENGTH_BYTES = 8
TRAILER_BYTES = 16

PAGE_BYTES_MIN, PAGE_BYTES_MAX = 512, 65_536
"""SQLite's page sizes, powers of two."""

LOCK_BYTE = 0x4000_0000
"""SQLite's pending byte: the page that holds it is never part of a database."""

PAGES_MAX = 0xFFFF_FFFE
"""The largest page number of SQLite."""

TXID_MAX = 2**63 - 1
"""So that a transaction's number is an integer everywhere, in SQLite and JSON readers too."""

TIMESTAMP_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999, where calendars end."""

WAL_BYTES_MAX = 2**63 - 1
"""Offsets and sizes in a log are signed 64-bit integers."""

HAS_LENGTH = 0x1
"""A page's only flag: its length stands before it, and it is an LZ4 block. The older form without is not read here."""

NO_CHECKSUMS = 0x2
"""The header's only flag: nobody keeps the checksums of the database. Litestream refuses files without it."""


class LtxError(Exception):
    """These bytes are no LTX file; the message says why. Nothing that they hold is in it."""


def compressed_bytes_max(page_size: int) -> int:
    """Return how long a page's LZ4 block may be: a page that can't be compressed grows by so much (LZ4_COMPRESSBOUND)."""
    return page_size + page_size // 255 + 16
