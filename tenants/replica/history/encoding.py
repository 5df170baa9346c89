"""Writes pages of a database's file as an LTX file of its own, in one pass and with little memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.ltx import CHECKSUM_FLAG, Encoder, Header, database_checksum, lock_page, page_checksum
from tenants.replica.history.failures import BrokenHistory
from tenants.replica.tree import FileInfo

_READ_BYTES_MAX = 2**20
"""Of the database, at once."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """An LTX file on the disk."""

    path: Path
    batch: str
    """Its SHA-256, in hex."""
    checksum: int
    """Of the pages in it (``engine.ltx.database_checksum``): the database's, if it holds all."""


def every_page(page_bytes: int, pages: int) -> list[tuple[int, int]]:
    """Return a database's pages as ranges, without the one that is never written."""
    lock = lock_page(page_bytes)
    return [(1, pages + 1)] if pages < lock else [(1, lock), *([(lock + 1, pages + 1)] if pages > lock else [])]


@contextmanager
def encoded(source: Path, runs: Iterable[tuple[int, int]], header: Header, spool: Path, name: str) -> Iterator[Encoded]:
    """Make an LTX file of these ranges of pages in a file beneath ``spool``, which is removed in the end.

    A file that is there already is left from an attempt that was broken off.
    """
    path = spool / name
    digest, checksum = hashlib.sha256(), CHECKSUM_FLAG
    encoder = Encoder(header)
    try:
        path.unlink(missing_ok=True)
        with path.open("xb") as file:

            def write(piece: bytes) -> None:
                digest.update(piece)
                file.write(piece)

            write(encoder.begin())
            for number, contents in _contents(source, runs, header.page_size):
                frames = []
                sums = []
                for page, content in enumerate(contents, number):
                    frames.append(encoder.page(page, content))
                    sums.append(page_checksum(page, content))
                checksum = database_checksum(sums, checksum)
                write(b"".join(frames))
            write(encoder.end())
        yield Encoded(path=path, batch=digest.hexdigest(), checksum=checksum)
    finally:
        path.unlink(missing_ok=True)


def info_of(encoded: Encoded, header: Header, *, epoch: int, whole: bool) -> FileInfo:
    """Return what goes with a file that was made of others: its chain is in level 0."""
    return FileInfo(
        timestamp_ms=header.timestamp_ms,
        batch=encoded.batch,
        previous="",
        epoch=epoch,
        checksum=header.node_id,
        pages=header.commit,
        whole=whole,
    )


def _contents(source: Path, runs: Iterable[tuple[int, int]], size: int) -> Iterator[tuple[int, list[bytes]]]:
    """Yield pages as they lie in the file, some at a time, with the number of the first."""
    at_once = max(1, _READ_BYTES_MAX // size)
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for first, end in runs:
            for number in range(first, end, at_once):
                wanted = min(at_once, end - number) * size
                data = os.pread(descriptor, wanted, (number - 1) * size)
                if len(data) < wanted:
                    raise BrokenHistory("the file of a database is shorter than the database")
                yield number, [data[start : start + size] for start in range(0, wanted, size)]
    finally:
        os.close(descriptor)
