"""Where the pages of a database are read past SQLite: newest frames from the log, all else from the file, which nobody changes
but the checkpointer. They come as they lie in the file after a checkpoint, many at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from engine.capture.live_files import LiveFiles
from engine.capture.log_reader import LogReader, Span
from engine.capture.pages import PageDamaged, PageForm
from engine.ltx import CHECKSUM_FLAG, lock_page, page_checksum

BATCH_PAGES = 64
"""Read, stamped and summed at a time: a quarter of a megabyte, which stays in the processor's cache."""

Batch = tuple[Sequence[int], bytearray]
"""Numbers of pages, and the pages one behind the other."""


class Source:
    """The pages of one open database."""

    def __init__(self, files: LiveFiles, form: PageForm) -> None:
        self.files = files
        self.form = form
        self.page_bytes = form.page_bytes
        self.log = LogReader(files, form.page_bytes)

    def numbers(self, first: int, last: int) -> list[int]:
        """Return the numbers from ``first`` to ``last``, without that of the page that is never written."""
        lock = lock_page(self.page_bytes)
        return [number for number in range(first, last + 1) if number != lock]

    def page_count(self, frames: int) -> int:
        """Return how many pages the database has after so many frames of its log, as the last of them says."""
        return self.log.commit(frames) if frames else self.files.database_bytes() // self.page_bytes

    def from_log(self, span: Span, numbers: Sequence[int], frames: Sequence[int]) -> bytearray:
        """Return these pages, each from its frame."""
        data = self.log.read(span.header, frames)
        self.form.finish(data, numbers, database_pages=span.commit)
        return data

    def from_file(self, numbers: Sequence[int]) -> bytearray:
        """Return these pages of the file; ``PageDamaged`` for one whose checksum is wrong.

        Behind the file's end are zeros: so a checkpoint leaves a page that belongs to a database that has grown, and that
        nothing was written to.
        """
        size = self.page_bytes
        data = bytearray(len(numbers) * size)
        view = memoryview(data)
        descriptor = self.files.database()
        for start, end in _runs(numbers):
            os.preadv(descriptor, [view[start * size : end * size]], (numbers[start] - 1) * size)
        sound = self.form.are_sound(data)
        if not sound.all():
            raise PageDamaged(f"page {numbers[int(sound.argmin())]} has another checksum")
        return data

    def span_batches(self, span: Span) -> Iterator[Batch]:
        """Yield the newest pages of the span, as far as they still belong to the database."""
        kept = span.pages <= span.commit
        pages, frames = span.pages[kept].tolist(), span.frames[kept].tolist()
        for start in range(0, len(pages), BATCH_PAGES):
            numbers = pages[start : start + BATCH_PAGES]
            yield numbers, self.from_log(span, numbers, frames[start : start + BATCH_PAGES])

    def all_batches(self, span: Span | None, pages: int) -> Iterator[Batch]:
        """Yield all ``pages`` of the database: those in ``span``, which is the whole log, from there."""
        newest = {} if span is None else dict(zip(span.pages.tolist(), span.frames.tolist(), strict=True))
        size = self.page_bytes
        for first in range(1, pages + 1, BATCH_PAGES):
            numbers = self.numbers(first, min(first + BATCH_PAGES - 1, pages))
            filed = [number for number in numbers if number not in newest]
            data = self.from_file(filed)
            if span is not None and len(filed) < len(numbers):
                logged = [number for number in numbers if number in newest]
                found = dict(zip(filed, _cut(data, size), strict=True))
                found |= zip(
                    logged, _cut(self.from_log(span, logged, [newest[number] for number in logged]), size), strict=True
                )
                data = bytearray(b"".join(found[number] for number in numbers))
            yield numbers, data

    def wiped(self, numbers: Sequence[int], database_pages: int) -> Iterator[tuple[int, bytes]]:
        """Yield those of these pages that are not yet in the file as they should be, as they should be."""
        kept = [number for number in numbers if number <= database_pages]
        for start in range(0, len(kept), BATCH_PAGES):
            some = kept[start : start + BATCH_PAGES]
            found = self.from_file(some)
            data = bytearray(found)
            self.form.finish(data, some, database_pages=database_pages)
            before, after = _cut(found, self.page_bytes), _cut(data, self.page_bytes)
            yield from ((number, page) for number, old, page in zip(some, before, after, strict=True) if page != old)

    def checksums(self, batch: Batch) -> list[tuple[int, int]]:
        """Return each page's number with its checksum."""
        numbers, data = batch
        return [
            (number, page_checksum(number, page)) for number, page in zip(numbers, _cut(data, self.page_bytes), strict=True)
        ]

    def pages(self, batch: Batch) -> Iterator[tuple[int, bytes]]:
        """Yield each page with its number."""
        numbers, data = batch
        return zip(numbers, _cut(data, self.page_bytes), strict=True)


def total(checksums: Iterable[int], start: int = CHECKSUM_FLAG) -> int:
    """Return the checksum of a database: ``start`` with these pages' put in, or taken out where they are in it."""
    folded = start
    for checksum in checksums:
        folded ^= checksum
    return folded | CHECKSUM_FLAG


def _cut(data: bytearray, size: int) -> list[bytes]:
    whole = bytes(data)
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield where runs of numbers that follow on each other begin and end."""
    start = 0
    for place in range(1, len(numbers) + 1):
        if place == len(numbers) or numbers[place] != numbers[place - 1] + 1:
            if place > start:
                yield start, place
            start = place
