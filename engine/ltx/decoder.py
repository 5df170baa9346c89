"""Reads an LTX file that a stranger wrote: bytes in, header, pages and trailer out, or ``LtxError``.

Whatever the file claims, the decoder holds what was put in and not taken out, one page, and some numbers. Everything that the
format says of a file is checked; the index, which nothing here needs, is compared with the one that the pages make. Pages come
out before the checksum at the end was seen: nothing may be done with them that can't be undone, until the trailer has come.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from struct import Struct

import lz4.block

from engine.ltx import index, limits
from engine.ltx.checksums import CHECKSUM_FLAG, FileChecksum, database_checksum, page_checksum
from engine.ltx.header import Header, Page, Trailer
from engine.ltx.limits import LtxError
from engine.ltx.sequence import PageSequence

Event = Header | Page | Trailer

_PAGE_HEADER = Struct(">IH")
_PAGE_LENGTH = Struct(">I")
_PAGE_HEAD_BYTES = limits.PAGE_HEADER_BYTES + limits.PAGE_LENGTH_BYTES


class Decoder:
    """One file. ``put`` its bytes in pieces, ``take`` until there is nothing more, and ``close`` after the last piece."""

    def __init__(self, *, database_bytes_max: int | None = None) -> None:
        """``database_bytes_max``: refuse a file of a larger database, before any of its pages is looked at."""
        self._database_bytes_max = database_bytes_max
        self._buffer = bytearray()
        self._offset = 0
        self._checksum = FileChecksum()
        self._step: Callable[[], Event | None] = self._take_header
        self._header: Header | None = None
        self._sequence: PageSequence | None = None
        self._snapshot_checksum = CHECKSUM_FLAG
        self._index = hashlib.blake2b()
        self._index_bytes = 0
        self._index_read = hashlib.blake2b()
        self._index_left = 0
        self._is_done = False

    def put(self, data: bytes) -> None:
        """Take the next piece of the file."""
        self._buffer += data

    def take(self) -> Event | None:
        """Return what comes next in the file: its header, then its pages, then its trailer; ``None`` until there is more."""
        return self._step()

    def close(self) -> None:
        """``LtxError`` unless the trailer has been taken."""
        if not self._is_done:
            raise LtxError("the file ends too early")

    def _read(self, count: int) -> bytes:
        data = bytes(memoryview(self._buffer)[:count])
        del self._buffer[:count]
        self._offset += count
        return data

    def _take_header(self) -> Header | None:
        if len(self._buffer) < limits.HEADER_BYTES:
            return None
        data = self._read(limits.HEADER_BYTES)
        header = Header.decode(data)
        if self._database_bytes_max is not None and header.commit * header.page_size > self._database_bytes_max:
            raise LtxError("the database is larger than it may be")
        self._checksum.add(data)
        self._header, self._sequence = header, PageSequence(header)
        self._step = self._take_page
        return header

    def _take_page(self) -> Event | None:
        assert self._header is not None
        assert self._sequence is not None
        if len(self._buffer) < limits.PAGE_HEADER_BYTES:
            return None
        number, flags = _PAGE_HEADER.unpack_from(self._buffer)
        if number == 0 and flags == 0:
            return self._end_pages()
        if flags != limits.HAS_LENGTH:
            raise LtxError("a page has flags other than that of its length")
        if len(self._buffer) < _PAGE_HEAD_BYTES:
            return None
        (size,) = _PAGE_LENGTH.unpack_from(self._buffer, limits.PAGE_HEADER_BYTES)
        if not 0 < size <= limits.compressed_bytes_max(self._header.page_size):
            raise LtxError("a page is longer than it can be compressed, or empty")
        if len(self._buffer) < _PAGE_HEAD_BYTES + size:
            return None
        self._sequence.take(number)
        entry = index.entry(number, self._offset, _PAGE_HEAD_BYTES + size)
        self._index.update(entry)
        self._index_bytes += len(entry)
        frame = self._read(_PAGE_HEAD_BYTES + size)
        content = self._decompressed(memoryview(frame)[_PAGE_HEAD_BYTES:], self._header.page_size)
        self._checksum.add(frame[:_PAGE_HEAD_BYTES])
        self._checksum.add(content)
        if self._header.is_snapshot and self._header.has_checksums:
            self._snapshot_checksum = database_checksum([page_checksum(number, content)], self._snapshot_checksum)
        return Page(number, content)

    @staticmethod
    def _decompressed(data: memoryview, page_size: int) -> bytes:
        try:
            content: bytes = lz4.block.decompress(data, uncompressed_size=page_size)
        except (lz4.block.LZ4BlockError, ValueError, MemoryError) as error:
            raise LtxError("a page can't be decompressed") from error
        if len(content) != page_size:
            raise LtxError("a page is shorter than the pages are")
        return content

    def _end_pages(self) -> Event | None:
        assert self._sequence is not None
        self._sequence.end()
        self._checksum.add(self._read(limits.PAGE_HEADER_BYTES))
        ending = index.ending(self._index_bytes)
        self._index.update(ending)
        self._index_left = self._index_bytes + len(ending)
        self._step = self._take_index
        return self._take_index()

    def _take_index(self) -> Event | None:
        piece = self._read(min(self._index_left, len(self._buffer)))
        self._index_left -= len(piece)
        self._index_read.update(piece)
        self._checksum.add(piece)
        if self._index_left:
            return None
        if self._index_read.digest() != self._index.digest():
            raise LtxError("the index is not that of the pages")
        self._step = self._take_trailer
        return self._take_trailer()

    def _take_trailer(self) -> Trailer | None:
        assert self._header is not None
        if len(self._buffer) < limits.TRAILER_BYTES:
            return None
        data = self._read(limits.TRAILER_BYTES)
        trailer = Trailer.decode(data)
        self._checksum.add(data[:8])
        trailer.check(self._header)
        if trailer.file_checksum != self._checksum.value:
            raise LtxError("the file's checksum is another")
        if self._header.is_snapshot and self._header.has_checksums and trailer.post_apply_checksum != self._snapshot_checksum:
            raise LtxError("the checksum of the database after is not that of the pages")
        self._is_done = True
        self._step = self._take_nothing
        self._take_nothing()
        return trailer

    def _take_nothing(self) -> None:
        if self._buffer:
            raise LtxError("something follows after the end")
