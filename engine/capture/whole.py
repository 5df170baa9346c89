"""The whole database as one file of its history: what begins it, and what goes on where continuity can't be proved.

Nothing may empty the log meanwhile, or the file would change while it is read; writing to the log goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engine.capture.log_reader import Span
from engine.capture.pages import PageDamaged
from engine.capture.source import Batch, Source, total
from engine.ltx import CHECKSUM_FLAG


class GivenUp(Exception):
    """The whole was not finished, because the engine ends, or the disk has no room for it."""


@dataclass(frozen=True)
class Whole:
    """All pages at one moment."""

    span: Span | None
    """The log as far as it counts, from its beginning; ``None`` when nothing is in it."""
    pages: int
    checksum: int
    first_page: int
    """Checksum of the first page."""
    from_log: dict[int, int]
    """Checksums of the pages that lie in the log."""


def read_whole(source: Source, frames: int, given_up: Callable[[], bool]) -> Whole:
    """Sum all pages of the database as of so many ``frames`` of its log, and look at each page's own checksum on the way.

    ``PageDamaged``, ``LogDamaged``, ``GivenUp``.
    """
    header = source.log.header() if frames else None
    span = source.log.follow(header, frames) if header is not None else None
    pages = source.files.database_bytes() // source.page_bytes if span is None else span.commit
    logged = set() if span is None else set(span.pages.tolist())
    checksum = CHECKSUM_FLAG
    first_page = 0
    from_log: dict[int, int] = {}
    for batch in source.all_batches(span, pages):
        if given_up():
            raise GivenUp
        sums = source.checksums(batch)
        checksum = total((one for _, one in sums), checksum)
        from_log.update((number, one) for number, one in sums if number in logged)
        if batch[0][:1] == [1]:
            first_page = sums[0][1]
    return Whole(span, pages, checksum, first_page, from_log)


def whole_batches(source: Source, whole: Whole, given_up: Callable[[], bool]) -> Iterator[Batch]:
    """Yield the pages once more; ``PageDamaged`` at the end if they were not the same as before."""
    checksum = CHECKSUM_FLAG
    for batch in source.all_batches(whole.span, whole.pages):
        if given_up():
            raise GivenUp
        checksum = total((one for _, one in source.checksums(batch)), checksum)
        yield batch
    if checksum != whole.checksum:
        raise PageDamaged("a page is not what it was a moment ago")
