"""Which page may follow which: ascending, none beyond the database's end, never the lock's; in a snapshot each one."""

from __future__ import annotations

from engine.ltx.header import Header, lock_page
from engine.ltx.limits import LtxError


class PageSequence:
    """The numbers of one file's pages, in their order."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._lock_page = lock_page(header.page_size)
        self._last = 0

    def take(self, number: int) -> None:
        """``LtxError`` unless the page ``number`` may come now."""
        if not self._last < number <= self._header.commit:
            raise LtxError("pages are out of order, or beyond the database's end")
        if number == self._lock_page:
            raise LtxError("the page that holds the locks is never written")
        if self._header.is_snapshot and number != self._after(self._last):
            raise LtxError("a snapshot lacks a page")
        self._last = number

    def end(self) -> None:
        """``LtxError`` if a snapshot ends too early."""
        if self._header.is_snapshot and self._after(self._last) <= self._header.commit:
            raise LtxError("a snapshot lacks its last pages")

    def _after(self, number: int) -> int:
        return number + 2 if number + 1 == self._lock_page else number + 1
