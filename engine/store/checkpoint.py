"""The one checkpointer of a database: copies the log into the file, after it has proved that the log is what was written.

SQLite's own checkpoints are off, on every connection. Pages get their checksum from ``cksumvfs`` when a checkpoint writes
them, so a bit that has flipped in the log would be stamped as right; therefore all committed frames are read and their chain
is followed first (``engine.store.wal``). Between that and the copy lie microseconds.

A checkpoint always empties the log (``TRUNCATE``) or does nothing: while a snapshot is open, it is put off. So a log never
holds frames of an earlier round, its first transaction begins on an empty file, and whatever follows the header was written
after the header had been synced. That is what lets ``examine`` tell damage from the torn end that a power cut leaves.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import apsw

from engine.store.connection import BUSY_TIMEOUT_MS
from engine.store.wal import HEADER_BYTES, Chain, Header, LogDamaged

CHECKPOINT_FRAMES = 1000
"""Four megabytes, as SQLite's own checkpoints: what a killed engine reads again at its start, and a few ms of work."""

_FRAMES_READ = 64
"""Read and summed at a time: a quarter of a megabyte, which stays in the processor's cache."""


class Checkpointer:
    """Belongs to the one writing connection. ``LogDamaged`` from it means that nothing was copied."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._connection = connection
        self._path = log_path(path)
        self._descriptor: int | None = None
        self._snapshots = 0
        self._tried_at = 0
        self._frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        connection.set_wal_hook(self._note_commit)

    @property
    def is_log_empty(self) -> bool:
        """Whether nothing has been committed since the last checkpoint, by a process before this one either."""
        return self._frames <= 0

    @contextlib.contextmanager
    def held_off(self) -> Iterator[None]:
        """Put checkpoints off for the block: a second connection reads what is in the log now."""
        self._snapshots += 1
        try:
            yield
        finally:
            self._snapshots -= 1

    def run(self) -> bool:
        """Verify the log and empty it into the file; whether it is empty now. ``LogDamaged`` before anything is copied."""
        if self._snapshots:
            return False
        frames, _ = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        if frames > 0:
            self._verify(frames)
            if not self._truncate():
                self._tried_at = frames
                return False
        self._frames = self._tried_at = 0
        return True

    def run_if_due(self) -> None:
        """Do so when the log has grown long enough to be worth it."""
        if self._frames >= self._tried_at + CHECKPOINT_FRAMES:
            self.run()

    def close(self) -> None:
        """Let go of the log. After the connection's end only."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _truncate(self) -> bool:
        self._connection.set_busy_timeout(0)  # whoever looks into the file by hand is not waited for
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            return False
        finally:
            self._connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        return True

    def _verify(self, frames: int) -> None:
        if self._descriptor is None:
            # Held open for good: no descriptor of a live database's files is ever closed behind SQLite's back.
            try:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise LogDamaged("the log is gone") from error
        chain = _follow(self._descriptor, frames)
        if chain.committed != frames:
            raise LogDamaged(f"frame {chain.frames + 1} of {frames} is not what was committed")

    def _note_commit(self, _connection: apsw.Connection, _name: str, frames: int) -> int:
        self._frames = frames
        return apsw.SQLITE_OK


def log_path(path: Path) -> Path:
    """Return where SQLite keeps the log of the database at ``path``."""
    return path.with_name(f"{path.name}-wal")


def examine(path: Path) -> None:
    """Look at the log that an engine has left behind, before SQLite opens the database at ``path``.

    SQLite takes the log up to the first frame that breaks the chain and forgets the rest: right for a torn end, a silent
    loss when the frame had been committed. ``LogDamaged`` where it certainly had.
    """
    try:
        descriptor = os.open(log_path(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if os.fstat(descriptor).st_size > HEADER_BYTES and _follow(descriptor).is_damaged:
            raise LogDamaged("committed frames are missing")
    finally:
        os.close(descriptor)


def _follow(descriptor: int, frames_max: int | None = None) -> Chain:
    """Return the chain of the log's first frames, of all of them without ``frames_max``."""
    header = Header.parse(os.pread(descriptor, HEADER_BYTES, 0))
    chain = Chain(header)
    fed = 0
    while frames_max is None or fed < frames_max:
        wanted = _FRAMES_READ if frames_max is None else min(_FRAMES_READ, frames_max - fed)
        data = os.pread(descriptor, wanted * header.frame_bytes, HEADER_BYTES + fed * header.frame_bytes)
        whole = len(data) // header.frame_bytes
        if not whole:
            break
        chain.feed(memoryview(data)[: whole * header.frame_bytes])
        fed += whole
    return chain
