"""What stands at an LTX file's two ends, the pages between, and the file's name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from struct import Struct

from engine.ltx import limits
from engine.ltx.checksums import CHECKSUM_FLAG
from engine.ltx.limits import LtxError

_HEADER = Struct(">4sIIIQQqQqqIIQ20s")
_TRAILER = Struct(">QQ")
_NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})\.ltx")

FILE_BYTES_MIN = limits.HEADER_BYTES + limits.PAGE_HEADER_BYTES + 1 + limits.INDEX_LENGTH_BYTES + limits.TRAILER_BYTES
"""A file without pages: no shorter one is whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """Which transactions a file holds, and of what database. ``LtxError`` for one that can't be."""

    page_size: int
    commit: int
    """The database's size after the last of the transactions, in pages."""
    min_txid: int
    max_txid: int
    """First and last transaction; a file that begins with 1 is a snapshot, and holds every page."""
    timestamp_ms: int
    """When it was written, in milliseconds since 1970."""
    has_checksums: bool = False
    """Whether the checksums of the database before and after are kept."""
    pre_apply_checksum: int = 0
    """Of the database before, where they are kept and there was one."""
    wal_offset: int = 0
    wal_size: int = 0
    wal_salt_1: int = 0
    wal_salt_2: int = 0
    """Where in the write-ahead log it was read."""
    node_id: int = 0

    def __post_init__(self) -> None:
        if not is_page_size(self.page_size):
            raise LtxError("the page size is none of SQLite's")
        if not 0 <= self.commit <= limits.PAGES_MAX:
            raise LtxError("the database has more pages than SQLite's may have")
        if self.commit == 0 and not self.has_checksums:
            raise LtxError("the database has no pages")
        if not 1 <= self.min_txid <= self.max_txid <= limits.TXID_MAX:
            raise LtxError("the transactions' numbers are out of order or out of range")
        if not 0 <= self.timestamp_ms <= limits.TIMESTAMP_MS_MAX:
            raise LtxError("the time is outside the calendar")
        if not (0 <= self.wal_offset <= limits.WAL_BYTES_MAX and 0 <= self.wal_size <= limits.WAL_BYTES_MAX):
            raise LtxError("the place in the log is negative or out of range")
        numbers = ((self.wal_salt_1, 32), (self.wal_salt_2, 32), (self.node_id, 64), (self.pre_apply_checksum, 64))
        if any(not 0 <= number < 1 << bits for number, bits in numbers):
            raise LtxError("a number is negative or has too many bits")
        if (self.wal_size or self.wal_salt_1 or self.wal_salt_2) and not self.wal_offset:
            raise LtxError("the log's salts and size need a place in it")
        if self.is_snapshot or not self.has_checksums:
            if self.pre_apply_checksum:
                raise LtxError("there is a checksum of a database before, and none is kept, or there was no database")
        elif not self.pre_apply_checksum & CHECKSUM_FLAG:
            raise LtxError("the checksum of the database before is missing or is none")

    @property
    def is_snapshot(self) -> bool:
        """Whether the file holds the whole database."""
        return self.min_txid == 1

    def encode(self) -> bytes:
        """Return the bytes at the file's beginning."""
        flags = 0 if self.has_checksums else limits.NO_CHECKSUMS
        return _HEADER.pack(
            *(limits.MAGIC, flags, self.page_size, self.commit, self.min_txid, self.max_txid, self.timestamp_ms),
            *(self.pre_apply_checksum, self.wal_offset, self.wal_size, self.wal_salt_1, self.wal_salt_2, self.node_id),
            bytes(limits.RESERVED_BYTES),
        )

    @classmethod
    def decode(cls, data: bytes) -> Header:
        """Return the header in the file's first 100 bytes."""
        magic, flags, page_size, commit, min_txid, max_txid, timestamp, checksum, *wal, node, reserved = _HEADER.unpack(data)
        if magic != limits.MAGIC:
            raise LtxError("it does not begin as an LTX file of version 3 does")
        if flags & ~limits.NO_CHECKSUMS:
            raise LtxError("the header has flags that nobody knows")
        if any(reserved):
            raise LtxError("the header's reserved bytes are not zero")
        return cls(
            page_size=page_size,
            commit=commit,
            min_txid=min_txid,
            max_txid=max_txid,
            timestamp_ms=timestamp,
            has_checksums=not flags & limits.NO_CHECKSUMS,
            pre_apply_checksum=checksum,
            wal_offset=wal[0],
            wal_size=wal[1],
            wal_salt_1=wal[2],
            wal_salt_2=wal[3],
            node_id=node,
        )


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the database, whole."""

    number: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Trailer:
    """The checksums at the file's end: of the database after, 0 where none is kept, and of the file."""

    post_apply_checksum: int
    file_checksum: int

    def encode(self) -> bytes:
        """Return the bytes at the file's end."""
        return _TRAILER.pack(self.post_apply_checksum, self.file_checksum)

    @classmethod
    def decode(cls, data: bytes) -> Trailer:
        """Return the trailer in the file's last 16 bytes."""
        return cls(*_TRAILER.unpack(data))

    def check(self, header: Header) -> None:
        """``LtxError`` if there is a checksum where none is kept, or none where one is."""
        if not header.has_checksums:
            if self.post_apply_checksum:
                raise LtxError("there is a checksum of the database after, and none is kept")
        elif not self.post_apply_checksum & CHECKSUM_FLAG:
            raise LtxError("the checksum of the database after is missing or is none")
        elif header.commit == 0 and self.post_apply_checksum != CHECKSUM_FLAG:
            raise LtxError("the checksum of the database after is not that of an empty one")


def is_page_size(size: int) -> bool:
    """Whether a database may have pages of ``size`` bytes."""
    return limits.PAGE_BYTES_MIN <= size <= limits.PAGE_BYTES_MAX and not size & (size - 1)


def lock_page(page_size: int) -> int:
    """Return the number of the page that is never written, because SQLite's locks lie in it."""
    return limits.LOCK_BYTE // page_size + 1


def file_name(min_txid: int, max_txid: int) -> str:
    """Return what a file of these transactions is called."""
    return f"{min_txid:016x}-{max_txid:016x}.ltx"


def parse_file_name(name: str) -> tuple[int, int]:
    """Return the first and last transaction that ``name`` says; ``LtxError`` when it is no such file's."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise LtxError("this is no LTX file's name")
    first, last = int(match[1], 16), int(match[2], 16)
    if not 1 <= first <= last <= limits.TXID_MAX:
        raise LtxError("the transactions' numbers in the name are out of order or out of range")
    return first, last
