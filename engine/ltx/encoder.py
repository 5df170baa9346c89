"""Writes an LTX file: header, pages in order, end. Each step returns the bytes to write next."""

from __future__ import annotations

import lz4.block

from engine.ltx import index
from engine.ltx.checksums import FileChecksum
from engine.ltx.header import Header, Trailer
from engine.ltx.limits import HAS_LENGTH, PAGE_HEADER_BYTES, LtxError
from engine.ltx.sequence import PageSequence


class Encoder:
    """One file: ``begin``, ``page`` for each page, ``end``. It keeps the index, some ten bytes a page, and nothing else."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._sequence = PageSequence(header)
        self._checksum = FileChecksum()
        self._index = bytearray()
        self._size = 0

    def begin(self) -> bytes:
        """Return the file's first bytes."""
        return self._plain(self._header.encode())

    def page(self, number: int, content: bytes) -> bytes:
        """Return the frame of one page; ``LtxError`` if it may not come now."""
        if len(content) != self._header.page_size:
            raise LtxError("a page is not as long as the pages are")
        self._sequence.take(number)
        compressed: bytes = lz4.block.compress(content, store_size=False)
        head = number.to_bytes(4, "big") + HAS_LENGTH.to_bytes(2, "big") + len(compressed).to_bytes(4, "big")
        self._checksum.add(head)
        self._checksum.add(content)
        frame = head + compressed
        self._index += index.entry(number, self._size, len(frame))
        self._size += len(frame)
        return frame

    def end(self, post_apply_checksum: int = 0) -> bytes:
        """Return the file's last bytes, with the checksum of the database after it, if such are kept."""
        self._sequence.end()
        last = self._plain(bytes(PAGE_HEADER_BYTES) + bytes(self._index) + index.ending(len(self._index)))
        trailer = Trailer(post_apply_checksum, 0)
        trailer.check(self._header)
        self._checksum.add(trailer.encode()[:8])
        return last + Trailer(post_apply_checksum, self._checksum.value).encode()

    def _plain(self, data: bytes) -> bytes:
        self._checksum.add(data)
        self._size += len(data)
        return data
