"""A database that is put together from LTX files, in a file: newest content of each page, as long as the last of them says.

Also what becomes one file of several: only the pages that they hold are written then, and the rest is a hole. Pages are written
before a file's end was seen, so what is here counts for nothing until the last file has been applied and checked.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from engine.free_space import FreeSpace
from engine.ltx import Decoder, Header, LtxError, Page, page_checksum
from tenants.replica.history.page_checksums import PageChecksums

DATABASE_BYTES_MAX = 64 * 2**30
"""The largest plan's databases have 50 GB. An engine that was taken over may claim more."""

_PAGES_MAX = DATABASE_BYTES_MAX // 4096
"""Our databases have pages of 4 KiB. Of smaller ones a stranger could claim so many that their checksums fill the memory."""

_LOOK_BYTES = 16 * 2**20
"""Written between two looks at what the disk has free: what must stay free is larger, so that engines go on."""

_RUN_PAGES_MAX = 256
"""Pages that are written by one call: a megabyte of the usual ones, and fewer than a call takes pieces (1,024)."""


class PageFile:
    """The file. A context manager."""

    def __init__(self, path: Path, *, database_bytes_max: int = DATABASE_BYTES_MAX) -> None:
        """A file that is there already is left from an attempt that was broken off: it is replaced."""
        path.unlink(missing_ok=True)
        self.path = path
        self.page_bytes = 0
        self._database_bytes_max = database_bytes_max
        self._checksums = PageChecksums(512)
        self._run: list[bytes] = []
        self._run_checksums: list[int] = []
        self._run_first = 0
        self._until_look = 0
        self._disk = FreeSpace(path.parent)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; it stays."""
        os.close(self._file)
        self._disk.close()

    @property
    def pages(self) -> int:
        """How many the database has now."""
        return self._checksums.pages

    @property
    def is_whole(self) -> bool:
        """Whether every page of the database was in one of the files."""
        return self._checksums.is_whole

    @property
    def checksum(self) -> int:
        """Of the database, where it is whole."""
        return self._checksums.total

    def runs(self) -> Iterator[tuple[int, int]]:
        """Yield ranges of the pages that were in one of the files: first, and the one after the last."""
        return self._checksums.runs()

    def apply(self, pieces: Iterable[bytes]) -> Header:
        """Apply a file and return its header; ``LtxError`` if it is none, or belongs to a database of another page size.

        A file without pages changes nothing, whatever size it says: it is a fence between two owners. ``OSError`` (ENOSPC)
        when it would take of the disk what must stay free: of a stranger's gigabytes of zeros the files are small.
        """
        decoder = Decoder(database_bytes_max=self._database_bytes_max)
        header: Header | None = None
        is_fence = True
        for piece in pieces:
            decoder.put(piece)
            while (event := decoder.take()) is not None:
                if isinstance(event, Page):
                    if is_fence:
                        assert header is not None
                        self._checksums.resize(max(header.commit, self.pages))
                        is_fence = False
                    self._take(event.number, event.content)
                elif isinstance(event, Header):
                    header = event
                    self._begin(header)
        decoder.close()
        assert header is not None
        self._write_run()
        if not is_fence:
            self._checksums.resize(header.commit)
            os.ftruncate(self._file, header.commit * self.page_bytes)
        return header

    def sync(self) -> None:
        """Return when everything is on the disk, its name included."""
        os.fsync(self._file)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _begin(self, header: Header) -> None:
        if header.commit > _PAGES_MAX:
            raise LtxError("the database has more pages than it may")
        if not self.page_bytes:
            self.page_bytes = header.page_size
            self._checksums = PageChecksums(header.page_size)
        elif header.page_size != self.page_bytes:
            raise LtxError("its pages have another size than those before")

    def _take(self, number: int, content: bytes) -> None:
        if number != self._run_first + len(self._run) or len(self._run) == _RUN_PAGES_MAX:
            self._write_run()
            self._run_first = number
        self._run.append(content)
        self._run_checksums.append(page_checksum(number, content))

    def _write_run(self) -> None:
        if not self._run:
            return
        offset, left = (self._run_first - 1) * self.page_bytes, len(self._run) * self.page_bytes
        self._check_room(left)
        written = os.pwritev(self._file, self._run, offset)
        if written < left:  # the disk is nearly full, or a signal came; the rest is written, or says why not
            rest = memoryview(b"".join(self._run))
            while written < left:
                written += os.pwrite(self._file, rest[written:], offset + written)
        self._checksums.note(self._run_first, self._run_checksums)
        self._run, self._run_checksums = [], []

    def _check_room(self, size: int) -> None:
        self._until_look -= size
        if self._until_look < 0:
            self._until_look = _LOOK_BYTES
            if not self._disk.fits(_LOOK_BYTES):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
