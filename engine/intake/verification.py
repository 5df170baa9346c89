"""Whether a restored file is what its note says, and a sound database that this program can serve.

It came over a network from a store that others may write to. Nothing of it is believed before: neither its size, nor that its
pages are those that were captured, nor that they make a database. Looking changes no byte of it.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import NamedTuple

import apsw

from engine.catalogue.recovery import RestoreNote
from engine.ltx import lock_page
from engine.ltx.checksums import CHECKSUM_FLAG, database_checksum, page_checksum
from engine.ltx.limits import PAGE_BYTES_MAX, PAGE_BYTES_MIN, PAGES_MAX, TIMESTAMP_MS_MAX, TXID_MAX
from engine.protocol.moment import system_clock
from engine.store import exports, integrity
from engine.store.connection import CHECKSUM_BYTES, open_reader
from engine.store.migration import MIGRATIONS
from engine.store.quarantine import is_damage
from engine.store.selection import Selection

LOG_SUFFIXES = ("-wal", "-shm", "-journal")
"""What SQLite may keep beside a file, and what a restored one never comes with."""

_PIECE_BYTES = 1024 * 1024
"""A multiple of every page size."""

_HEADER = struct.Struct(">16sHBBB")
"""Of a database's file: its name, page size (1 for 65,536), the two versions of its format, and the reserved bytes of a page.
https://www.sqlite.org/fileformat2.html, section 1.3."""

_MAGIC = b"SQLite format 3\0"
_WITH_A_LOG = 2

_OLDER_COUNT = "SELECT count(*) FROM memories WHERE deleted_at IS NULL"


class Unfit(Exception):
    """The restored file is not taken in; the message says why, in words of ours."""


class Verified(NamedTuple):
    """What a look at the file has shown."""

    first_page: int
    memories: int


def verify(path: Path, note: RestoreNote) -> Verified:
    """Return what there is to say of the file; ``Unfit`` when it is not what it should be. Nobody else may have it open."""
    _check_note(note)
    first_page = _check_bytes(path, note)
    try:
        return Verified(first_page, _check_database(path))
    except apsw.SQLError as error:
        raise Unfit("its tables are not those of its schema") from error
    except apsw.Error as error:
        if not is_damage(error):
            raise
        raise Unfit(f"it is damaged: {type(error).__name__}") from error
    finally:
        remove_log(path)


def count(connection: apsw.Connection) -> int:
    """Return how many memories anybody can see; of an older database, how many are not deleted."""
    if connection.pragma("user_version") == len(MIGRATIONS):
        return exports.count(connection, Selection(), system_clock())
    return int(connection.execute(_OLDER_COUNT).get) if connection.table_exists(None, "memories") else 0


def remove_log(path: Path) -> None:
    """Remove what SQLite keeps beside a file: a log of another database would be taken for this one's."""
    for suffix in LOG_SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _check_note(note: RestoreNote) -> None:
    page_bytes = note.page_bytes
    if not PAGE_BYTES_MIN <= page_bytes <= PAGE_BYTES_MAX or page_bytes & (page_bytes - 1):
        raise Unfit("its note has no page size")
    if not (0 < note.pages <= PAGES_MAX and 0 <= note.txid <= TXID_MAX and 0 <= note.timestamp_ms <= TIMESTAMP_MS_MAX):
        raise Unfit("its note has numbers that nothing has")


def _check_bytes(path: Path, note: RestoreNote) -> int:
    """Return the checksum of the first page."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)  # whoever moved it here had no time to
        if os.fstat(descriptor).st_size != note.pages * note.page_bytes:
            raise Unfit("its size is not what its note says")
        magic, page_bytes, *versions, reserved = _HEADER.unpack(os.pread(descriptor, _HEADER.size, 0))
        if magic != _MAGIC or (65_536 if page_bytes == 1 else page_bytes) != note.page_bytes:
            raise Unfit("it is no database of that page size")
        if versions != [_WITH_A_LOG, _WITH_A_LOG] or reserved != CHECKSUM_BYTES:
            raise Unfit("it is no database of ours")
        if _checksum(descriptor, note.page_bytes) != note.checksum:
            raise Unfit("its pages are not those that were captured")
        return page_checksum(1, os.pread(descriptor, note.page_bytes, 0))
    finally:
        os.close(descriptor)


def _checksum(descriptor: int, page_bytes: int) -> int:
    """Return the checksum of all pages but the one that is never part of a database."""
    total, number, left_out = CHECKSUM_FLAG, 0, lock_page(page_bytes)
    while piece := os.pread(descriptor, _PIECE_BYTES, number * page_bytes):
        pages = [piece[start : start + page_bytes] for start in range(0, len(piece), page_bytes)]
        numbered = enumerate(pages, number + 1)
        total = database_checksum((page_checksum(each, page) for each, page in numbered if each != left_out), total)
        number += len(pages)
    return total


def _check_database(path: Path) -> int:
    """Return how many memories it holds."""
    connection = open_reader(path)
    try:
        version = connection.pragma("user_version")
        if version > len(MIGRATIONS):
            raise Unfit(f"it has schema {version}, this program knows up to {len(MIGRATIONS)}")
        report, _ = integrity.check(connection, path, alone=True)
        if report.problems:
            raise Unfit(f"it is not sound: {'; '.join(report.problems)}")
        return count(connection)
    finally:
        connection.close()
