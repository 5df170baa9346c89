"""The one checkpointer of a database: copies the log into the file, after it has proved that the log is what was written.

SQLite's own checkpoints are off, on every connection. Pages get their checksum from ``cksumvfs`` when a checkpoint writes
them, so a bit that has flipped in the log would be stamped as right; therefore all committed frames are read and their chain
is followed first (``engine.capture.wal``), the last of them when they are captured. Between that and the copy lie milliseconds.

A checkpoint always empties the log (``TRUNCATE``) or does nothing: while a snapshot is open, it is put off, until the log is
so long that the snapshot is given up for it. So a log never holds frames of an earlier round, its first transaction begins on
an empty file, and whatever follows the header was written after the header had been synced. That is what lets ``settle`` tell
damage from the torn end that a power cut leaves.

What was not captured (``engine.capture``) is not emptied out of the log.

After an fsync has failed, the kernel may take pages for written that never were, and the next fsync succeeds without them. So
nothing is ever built on bytes whose fsync failed: a group that fails is cut off the log (``take_back``), and a log that was
left behind is written once more before it is believed (``settle``).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import apsw

from engine.capture import Capture, LiveFiles, PageForm
from engine.capture.live_files import log_path
from engine.capture.log_reader import frames_of
from engine.capture.source import Source
from engine.capture.wal import FRAME_HEADER_BYTES, HEADER_BYTES, Chain, Header, LogDamaged
from engine.protocol import ErrorCode, RemoteError
from engine.store.connection import BUSY_TIMEOUT_MS

CHECKPOINT_FRAMES = 1000
"""Four megabytes, as SQLite's own checkpoints: what a killed engine reads again at its start, and a few ms of work."""

SNAPSHOTS_MAX = 4
"""Open at once. An export as a SQLite file takes as much of the disk as the database itself while it is read."""

HELD_FRAMES_MIN = 16 * CHECKPOINT_FRAMES
"""How long a log at least may grow while snapshots are read, 64 megabytes. A larger database's may grow to its own size: a
slow reader of an export thus doubles what is on the disk at most, and then loses its snapshot."""

_REWRITTEN_BYTES = 1024 * 1024


class OutcomeUnknown(Exception):
    """The disk has failed during a commit, and again when the commit was taken back: a later start may find it or not."""


class Checkpointer:
    """Belongs to the one writing connection. ``LogDamaged`` from it means that nothing was copied."""

    def __init__(self, connection: apsw.Connection, files: LiveFiles, form: PageForm, capture: Capture | None = None) -> None:
        """``capture`` begins with what the log holds now; without, nothing is captured."""
        self._connection = connection
        self._files = files
        self._form = form
        self._capture = capture
        self._snapshots: set[apsw.Connection] = set()
        self._is_file_held = False
        self._tried_at = 0
        self._frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        if capture is not None:
            capture.begin(files, form, max(0, self._frames))
        connection.set_wal_hook(self._note_commit)

    @property
    def is_log_empty(self) -> bool:
        """Whether nothing has been committed since the last checkpoint, by a process before this one either."""
        return self._frames <= 0

    @contextlib.contextmanager
    def held_off(self, reader: apsw.Connection) -> Iterator[None]:
        """Put checkpoints off for the block: ``reader`` reads what is in the log now.

        ``overloaded`` when too many do so already, ``unavailable`` when the snapshot has to be given up.
        """
        if len(self._snapshots) >= SNAPSHOTS_MAX:
            message = f"{SNAPSHOTS_MAX} exports or checks are under way; wait until one has ended"
            raise RemoteError(ErrorCode.OVERLOADED, message, retry_after=5)
        self._snapshots.add(reader)
        try:
            yield
        except (apsw.Error, ValueError) as error:
            if reader in self._snapshots:
                raise
            message = "so much was changed meanwhile that the snapshot was given up; try again"
            raise RemoteError(ErrorCode.UNAVAILABLE, message, retry_after=1) from error
        finally:
            self._snapshots.discard(reader)

    @contextlib.contextmanager
    def file_held(self) -> Iterator[None]:
        """Put checkpoints off for the block, in which the file is read as it is."""
        self._is_file_held = True
        try:
            yield
        finally:
            self._is_file_held = False

    def run(self) -> bool:
        """Verify the log and empty it into the file; whether it is empty now. ``LogDamaged`` before anything is copied."""
        if self._snapshots or self._is_file_held:
            return False
        frames, _ = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        if frames > 0:
            self._tried_at = frames  # one that fails is tried again when the log has grown by as much once more
            if self._capture is not None and not self._capture.flush_before_checkpoint():
                return False
            pages = self._verify(frames)
            if not self._empty(pages):
                return False
        self._frames = self._tried_at = 0
        return True

    def run_if_due(self) -> None:
        """Do so when the log has grown long enough to be worth it."""
        if self._frames >= self._tried_at + CHECKPOINT_FRAMES:
            if self._snapshots and self._frames >= max(HELD_FRAMES_MIN, self._connection.pragma("page_count")):
                self._give_up_snapshots()
            self.run()

    def take_back(self) -> None:
        """Cut off the log what a failed commit has left behind its end, for good. ``OutcomeUnknown`` when that fails too.

        A commit whose fsync has failed may lie there whole: the next process would believe it.
        """
        try:
            descriptor = self._files.log()
            if descriptor is None:
                return
            known, _ = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
            frames = max(self._frames, known)
            frame_bytes = FRAME_HEADER_BYTES + self._form.page_bytes
            os.ftruncate(descriptor, HEADER_BYTES + frames * frame_bytes if frames > 0 else 0)
            os.fsync(descriptor)
        except (OSError, apsw.Error) as error:
            raise OutcomeUnknown from error

    def _empty(self, pages: set[int]) -> bool:
        """Copy the log, which holds these ``pages``, into the file, wipe their gaps, cut the log off; whether it was done."""
        if not self._checkpoint(apsw.SQLITE_CHECKPOINT_FULL):
            return False
        try:
            self._wipe(pages)
            if not self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE):
                return False
            if self._capture is not None:
                self._capture.note_emptied()
            # A power cut could bring these frames back otherwise: what was purged, or behind a torn header of the next log.
            if (descriptor := self._files.log()) is not None:
                os.fsync(descriptor)
        except OSError:
            return False
        return True

    def _checkpoint(self, mode: int) -> bool:
        self._connection.set_busy_timeout(0)  # whoever looks into the file by hand is not waited for
        try:
            frames, copied = self._connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            return False
        finally:
            self._connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        return frames == copied

    def _wipe(self, pages: set[int]) -> None:
        """Wipe what SQLite has left in the gaps of these pages of the file.

        The log still holds them, synced: a power cut that tears one does no harm, because they are copied anew.
        """
        count: int = self._connection.pragma("page_count")
        wiped = 0
        for number, page in Source(self._files, self._form).wiped(sorted(pages), count):
            wiped += os.pwrite(self._files.database(), page, (number - 1) * self._form.page_bytes)
        if wiped:
            os.fsync(self._files.database())

    def _give_up_snapshots(self) -> None:
        for reader in list(self._snapshots):
            try:
                reader.close()
            except apsw.ThreadingViolationError:
                reader.interrupt()  # a thread is reading; it ends soon, and the next group comes here again
            else:
                self._snapshots.discard(reader)

    def _verify(self, frames: int) -> set[int]:
        """Return which pages the log holds. Its last frames may have been followed a moment ago, to be captured."""
        descriptor = self._files.log()
        if descriptor is None:
            raise LogDamaged("the log is gone")
        followed = None if self._capture is None else self._capture.followed
        before = frames if followed is None else followed.first
        chain = _follow(descriptor, before)
        if chain.committed != before:
            raise LogDamaged(f"frame {chain.frames + 1} of {frames} is not what was committed")
        return chain.pages if followed is None else chain.pages.union(followed.pages.tolist())

    def _note_commit(self, _connection: apsw.Connection, _name: str, frames: int) -> int:
        self._frames = frames
        if self._capture is not None:
            self._capture.note_commit(frames)
        return apsw.SQLITE_OK


def examine(path: Path) -> None:
    """Look at the log that an engine has left behind, before SQLite opens the database at ``path``.

    SQLite takes the log up to the first frame that breaks the chain and forgets the rest: right for a torn end, a silent
    loss when the frame had been committed. ``LogDamaged`` where it certainly had.
    """
    with _left_behind(path, os.O_RDONLY) as descriptor:
        file_bytes = path.stat().st_size if path.exists() else 0
        if descriptor is not None and _follow(descriptor, file_bytes=file_bytes).is_damaged:
            raise LogDamaged("committed frames are missing")


def settle(path: Path) -> None:
    """Write the log that an engine has left behind once more, after it was examined, and sync it.

    What can be read may be in memory only: the fsync that was to save it may have failed in a process that was killed then.
    Transactions that follow would hang on a gap. A power cut meanwhile finds the bytes of before or those of now: the same.
    """
    with _left_behind(path, os.O_RDWR) as descriptor:
        if descriptor is not None:
            position = 0
            while data := os.pread(descriptor, _REWRITTEN_BYTES, position):
                position += os.pwrite(descriptor, data, position)
            os.fsync(descriptor)


@contextlib.contextmanager
def _left_behind(path: Path, mode: int) -> Iterator[int | None]:
    """Yield a descriptor of the log, ``None`` when there is nothing in it. Only before SQLite has opened the database."""
    try:
        descriptor = os.open(log_path(path), mode | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor if os.fstat(descriptor).st_size > HEADER_BYTES else None
    finally:
        os.close(descriptor)


def _follow(descriptor: int, frames_max: int | None = None, *, file_bytes: int = 0) -> Chain:
    """Return the chain of the log's first frames, of all of them without ``frames_max``.

    Of a log that may be torn, ``file_bytes`` is the size of its database.
    """
    header = Header.parse(os.pread(descriptor, HEADER_BYTES, 0))
    chain = Chain(header) if frames_max is not None else Chain(header, pages=file_bytes // header.page_bytes)
    for data in frames_of(descriptor, header, 0, frames_max):
        chain.feed(data)
    return chain
