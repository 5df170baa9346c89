"""The pages that some committed frames have changed, and what becomes of the database's checksum by them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import merge
from operator import itemgetter

from engine.capture.log_reader import Span
from engine.capture.source import BATCH_PAGES, Batch, Source, total
from engine.captured import Position

_PAGES_KEPT_MAX = 2048
"""Held in memory between summing and writing; larger increments are read twice. Eight megabytes."""


@dataclass(frozen=True)
class Increment:
    """What has changed since the last file."""

    batches: Iterable[Batch]
    pages: Mapping[int, int]
    """Each page's checksum."""
    checksum: int
    """Of the database after it."""


def read_increment(source: Source, span: Span, before: Position, known: Mapping[int, int]) -> Increment:
    """Read what ``span`` has changed since the position ``before``.

    ``known`` has the checksums of those pages that were captured from this log already. ``PageDamaged`` when the file does
    not hold what a page was before.
    """

    unwritten = _unwritten(source, span, before)

    def batches() -> Iterator[Batch]:
        written = source.span_batches(span)
        return merge(_one_by_one(source, written), unwritten, key=itemgetter(0)) if unwritten else written

    kept = list(batches()) if len(span.pages) <= _PAGES_KEPT_MAX else None
    pages = {number: checksum for batch in kept or batches() for number, checksum in source.checksums(batch)}
    replaced = [number for number in pages if number <= before.pages]
    replaced += source.numbers(span.commit + 1, before.pages)
    checksum = total(pages.values(), total(_checksums_before(source, replaced, known), before.checksum))
    return Increment(kept or batches(), pages, checksum)


def _checksums_before(source: Source, numbers: list[int], known: Mapping[int, int]) -> Iterator[int]:
    """Yield the checksums of these pages as they were captured last: from this log, or before it, when they lie in the file."""
    filed = []
    for number in numbers:
        if (checksum := known.get(number)) is None:
            filed.append(number)
        else:
            yield checksum
    for start in range(0, len(filed), BATCH_PAGES):
        some = filed[start : start + BATCH_PAGES]
        yield from (checksum for _, checksum in source.checksums((some, source.from_file(some))))


def _unwritten(source: Source, span: Span, before: Position) -> list[Batch]:
    """Return the pages that the database has grown by and that nothing was written to since, one by one.

    They are what they were in this log before the database had shrunk, or what the file holds at their place.
    """
    missing = sorted(set(source.numbers(before.pages + 1, span.commit)) - set(span.pages.tolist()))
    if not missing:
        return []
    earlier: dict[int, int] = {}
    if span.first:
        whole = source.log.follow(span.header, span.last)
        earlier = dict(zip(whole.pages.tolist(), whole.frames.tolist(), strict=True))
    return [
        ([number], source.from_log(span, [number], [earlier[number]]) if number in earlier else source.from_file([number]))
        for number in missing
    ]


def _one_by_one(source: Source, batches: Iterable[Batch]) -> Iterator[Batch]:
    for batch in batches:
        for number, page in source.pages(batch):
            yield [number], bytearray(page)
