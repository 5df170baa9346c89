"""Whether what lies here continues what was captured last: looked at once, when a database is opened.

It does so when the log is the one that was captured, and its frames up to there have the same checksum. Or when it has been
emptied since, which happens only after all of it was captured: then there is nothing in it, or the log that SQLite began after
it, whose first salt is one more; and the file is the one that was captured. After an end in order its time says so, otherwise
its pages' checksum. Everything else is not proved, whatever the reason: the next file then holds the whole database.
"""

from __future__ import annotations

from engine.capture.log_reader import Span
from engine.capture.pages import PageDamaged
from engine.capture.source import BATCH_PAGES, Source, total
from engine.capture.wal import Header, LogDamaged
from engine.captured import Position

_SALTS = 1 << 32

_SUMMED_BYTES_MAX = 64 * 1024 * 1024
"""Of a file whose pages are all summed at a start after a kill or a power cut, in some 50 ms."""


def checksums_from_log(source: Source, position: Position, committed: int) -> dict[int, int] | None:
    """Return the checksums of the pages that were captured from the present log, which has so many ``committed`` frames.

    ``None`` when continuity is not proved.
    """
    if position.whole_next or position.page_bytes != source.page_bytes:
        return None
    try:
        header = source.log.header()
        if header is None or committed == 0 or position.frames == 0 or header.salts != position.salts:
            was_emptied = position.frames == 0 or (source.files.had_log if header is None else _is_successor(header, position))
            return {} if was_emptied and _is_file(source, position) else None
        if position.frames > committed:
            return None
        span = source.log.follow(header, position.frames)
        return _of_log(source, span) if span.checksum == position.log_checksum else None
    except (LogDamaged, PageDamaged):
        return None


def _is_successor(header: Header, position: Position) -> bool:
    """Whether the log was begun after the captured one had been emptied. SQLite counts logs in the first salt."""
    return header.salts[0] == (position.salts[0] + 1) % _SALTS


def _is_file(source: Source, position: Position) -> bool:
    """Whether the file holds what was captured."""
    size = source.files.database_bytes()
    if size != position.pages * source.page_bytes or _checksum(source, [1]) != position.first_page:
        return False
    if position.frames == 0 and position.file_time_ns in (0, source.files.database_time_ns()):
        return True
    if size > _SUMMED_BYTES_MAX:
        return position.frames != 0  # the engine was killed right after a checkpoint; nobody can have been here since
    return _checksum(source, source.numbers(1, position.pages)) == position.checksum


def _checksum(source: Source, numbers: list[int]) -> int:
    pieces = (numbers[start : start + BATCH_PAGES] for start in range(0, len(numbers), BATCH_PAGES))
    return total(checksum for piece in pieces for _, checksum in source.checksums((piece, source.from_file(piece))))


def _of_log(source: Source, span: Span) -> dict[int, int]:
    return {number: checksum for batch in source.span_batches(span) for number, checksum in source.checksums(batch)}
