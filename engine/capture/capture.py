"""Captures what is committed: after each ``flush`` it lies in the outbox, and where the next one goes on is written down.

A file is there before the position says so, and is seen under its name after that. So a position that says n finds the draft of
n and gives it its name, or finds neither: then it was shipped. A draft beyond the position never counted.

Only frames that SQLite has acknowledged are read (``note_commit``). What fails leaves everything as it was, to be tried again:
the log grows meanwhile, because nothing that was not captured is ever emptied out of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from engine.capture.continuity import checksums_from_log
from engine.capture.increment import read_increment
from engine.capture.live_files import LiveFiles
from engine.capture.log_reader import Span
from engine.capture.ltx_file import write_file
from engine.capture.outbox import Outbox
from engine.capture.pages import PageDamaged, PageForm
from engine.capture.position_file import PositionFile
from engine.capture.source import Source
from engine.capture.wal import LogDamaged
from engine.capture.whole import read_whole, whole_batches
from engine.captured import Position
from engine.protocol.moment import Clock, system_clock

_log = structlog.get_logger()

WHOLE_INLINE_BYTES_MAX = 8 * 1024 * 1024
"""A larger database is captured whole in a thread: this much takes some forty milliseconds, in which no request is answered."""


@dataclass(frozen=True)
class _Drafted:
    """A file that is on the disk under its draft's name."""

    position: Position
    pages: dict[int, int]
    """Checksums of the pages that lie in the log, as far as they are new."""


class Capture:
    """The history of one tenant's database. ``begin`` when the database is open; ``close`` after its end.

    While ``flush_whole`` runs in a thread, only ``note_commit``, ``give_up`` and what merely looks may be called.
    """

    def __init__(self, folder: Path, *, rebase: int | None = None, clock: Clock = system_clock) -> None:
        """``rebase``: what the outbox holds is of no use, and history goes on after this transaction."""
        self._outbox = Outbox(folder)
        self._file = PositionFile(folder)
        self._rebase = rebase
        self._clock = clock
        self._source: Source | None = None
        self._position = Position(serial=0, txid=0, whole_next=True)
        self._from_log: dict[int, int] = {}
        """Checksums of the pages that were captured from the present log: in the file lies what they were before."""
        self._committed = 0
        self._drafted: _Drafted | None = None
        self._give_up = threading.Event()
        self.followed: Span | None = None
        """What the last ``flush_before_checkpoint`` has read of the log, and found to be what was committed."""
        self.behind: Callable[[], None] = lambda: None
        """Called when something was committed that is not captured."""

    def begin(self, files: LiveFiles, form: PageForm, committed: int) -> None:
        """Finish what was begun before, and find out where to go on. So many frames of the log were ``committed``."""
        self._source = Source(files, form)
        self._committed = committed
        self._position = prepare(self._file, self._outbox, self._rebase)
        if self._position.whole_next:
            return
        found = checksums_from_log(self._source, self._position, committed)
        if found is None:
            _log.warning("capture_starts_anew", txid=self._position.txid)
            self._position = self._file.write(whole_next=True)
        elif not found and self._position.frames:
            # The log has been emptied since. The next one may be a new process's, whose salts say nothing.
            self._position = self._file.write(frames=0, file_time_ns=files.database_time_ns())
        self._from_log = found or {}

    @property
    def position(self) -> Position:
        """How far it has come."""
        return self._position

    @property
    def is_behind(self) -> bool:
        """Whether something is to be captured."""
        return self._position.whole_next or self._drafted is not None or self._committed > self._position.frames

    @property
    def needs_thread(self) -> bool:
        """Whether the next file holds the whole database, and that is large: then it takes ``flush_whole``."""
        if self._source is None or not self._position.whole_next or self._drafted is not None:
            return False
        return self._source.page_count(self._committed) * self._source.page_bytes > WHOLE_INLINE_BYTES_MAX

    def waiting(self) -> int:
        """Return how many files wait in the outbox."""
        return self._outbox.waiting()

    def note_commit(self, frames: int) -> None:
        """Take note that the log now has so many committed frames."""
        self._committed = frames
        self.behind()

    def note_emptied(self) -> None:
        """Take note that the log was emptied into the file, all of it captured, or the whole still to be."""
        self._committed = 0
        self._from_log = {}
        self.followed = None
        self._position = msgspec.structs.replace(self._position, frames=0)

    def flush(self) -> Position:
        """Capture all that was committed, unless it ``needs_thread``; return where that ends.

        ``OSError`` when the disk fails or is full, ``LogDamaged`` and ``PageDamaged`` when what lies there is not what was
        written.
        """
        if self._drafted is not None:
            self._publish(self._drafted)
        if not self._position.whole_next and self._committed > self._position.frames:
            try:
                self._publish(self._draft_increment())
            except PageDamaged:
                # A page that is overwritten in the log, so nobody reads it any more; but the sum can't go on from it.
                self._position = self._file.write(self._position, whole_next=True)
        if self._position.whole_next and not self.needs_thread:
            self._publish(self._draft_whole(lambda: False))
        return self._position

    def flush_whole(self) -> None:
        """Capture the whole database, in a thread. The log must not be emptied meanwhile. ``GivenUp``, else as ``flush``."""
        try:
            self._publish(self._draft_whole(self._give_up.is_set))
        finally:
            self._give_up.clear()

    def give_up(self) -> None:
        """Have the whole that is under way, or else the next one, end with ``GivenUp``."""
        self._give_up.set()

    def flush_before_checkpoint(self) -> bool:
        """Capture what is in the log; whether it may be emptied.

        It may as well when all is to be captured anew: then it is captured from the file.
        """
        self.followed = None
        try:
            self.flush()
        except OSError as error:
            _log.error("capture_failed", error=error.strerror)
        return self._drafted is None and (self._position.whole_next or self._committed <= self._position.frames)

    def settle(self) -> None:
        """Write down that the log has been emptied: the next process finds another. Errors are left to it."""
        try:
            if self._source is not None and not self._position.whole_next and self._position != self._file.read():
                self._position = self._file.write(self._position, file_time_ns=self._source.files.database_time_ns())
        except OSError as error:
            _log.error("capture_failed", error=error.strerror)

    def close(self) -> None:
        """Let go of the file of the position."""
        self._file.close()

    def _draft_increment(self) -> _Drafted:
        source, before, committed = self._source, self._position, self._committed
        assert source is not None
        header = source.log.header()
        if header is None:
            raise LogDamaged("the log is gone")
        if before.frames and header.salts != before.salts:
            raise LogDamaged("the log is another")
        checksum = before.log_checksum if before.frames else None
        span = source.log.follow(header, committed, first=before.frames, checksum=checksum)
        self.followed = span
        increment = read_increment(source, span, before, self._from_log)
        position = self._next(
            self._now_ms(),
            pages=span.commit,
            checksum=increment.checksum,
            first_page=increment.pages.get(1, before.first_page),
            salts=header.salts,
            frames=committed,
            log_checksum=span.checksum,
        )
        with self._outbox.drafting(position.txid) as write:
            write_file(write, source, increment.batches, position, span)
        return self._note(_Drafted(position, dict(increment.pages)))

    def _draft_whole(self, given_up: Callable[[], bool]) -> _Drafted:
        source = self._source
        assert source is not None
        now_ms = self._now_ms()  # what is committed while it is read is not in it
        whole = read_whole(source, self._committed, given_up)
        span = whole.span
        position = self._next(
            now_ms,
            page_bytes=source.page_bytes,
            pages=whole.pages,
            checksum=whole.checksum,
            first_page=whole.first_page,
            salts=(0, 0) if span is None else span.header.salts,
            frames=0 if span is None else span.last,
            log_checksum=(0, 0) if span is None else span.checksum,
            whole_next=False,
        )
        with self._outbox.drafting(position.txid) as write:
            write_file(write, source, whole_batches(source, whole, given_up), position, span)
        return self._note(_Drafted(position, whole.from_log))

    def _now_ms(self) -> int:
        """Return the next file's time: later than the last one's, whatever the clock says."""
        return max(self._clock() // 1000, self._position.timestamp_ms + 1)

    def _next(self, now_ms: int, **changes: object) -> Position:
        before = self._position
        return msgspec.structs.replace(before, txid=before.txid + 1, timestamp_ms=now_ms, file_time_ns=0, **changes)

    def _note(self, drafted: _Drafted) -> _Drafted:
        self._drafted = drafted
        return drafted

    def _publish(self, drafted: _Drafted) -> None:
        """Write the position down and make the draft visible. What fails is tried again, and nothing is drafted before."""
        written = self._file.write(drafted.position)
        self._outbox.publish(written.txid)
        known = {} if self._position.whole_next else self._from_log
        known.update(drafted.pages)
        if written.pages < self._position.pages:
            known = {number: checksum for number, checksum in known.items() if number <= written.pages}
        self._from_log = known
        self._position = written
        self._drafted = None


def prepare(file: PositionFile, outbox: Outbox, rebase: int | None) -> Position:
    """Return the position that was written last, with what was begun after it finished or undone."""
    position = file.read()
    if rebase is not None:
        position = file.write(txid=rebase, whole_next=True, rebasing=True)
    if position is None:
        position = Position(serial=0, txid=0, whole_next=True)
    if position.rebasing:
        outbox.empty()
        return file.write(rebasing=False)
    outbox.settle(position.txid)
    return position


def stand_down(folder: Path) -> None:
    """Finish what was begun and capture nothing from now on: should it begin again, then with the whole database."""
    with PositionFile(folder) as file:
        position = prepare(file, Outbox(folder), None)
        if not position.whole_next:
            file.write(whole_next=True)
