"""One tenant's database: its one writing connection, transactions, deadlines, limits and buffered access counts.

A group of writes shares one transaction and so one fsync. Each runs in a savepoint: one that fails leaves no trace and does
not disturb the others. None may be acknowledged before ``write_group`` has returned.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import apsw

from engine.protocol import ErrorCode, Limits, RemoteError
from engine.protocol.moment import Clock, system_clock
from engine.store import housekeeping, memories, statistics
from engine.store.checkpoint import Checkpointer, examine
from engine.store.connection import open_reader, open_writer
from engine.store.migration import migrate
from engine.store.quarantine import is_damage
from engine.store.tokenizer import Tokenizer
from engine.store.vector_image import VectorImage

_STEPS_BETWEEN_DEADLINE_CHECKS = 2000
_ERASED_BESIDE_MAX = 4
"""Memories that a write group erases beside its own work. FTS5's secure-delete takes 2 ms for one of sixty words."""

_ERASED_AT_ONCE_MAX = 25
"""Memories that a piece of housekeeping erases: requests wait for it, so some 40 ms."""


class Database:
    """The file of one tenant, open. A context manager."""

    def __init__(self, path: Path, *, clock: Clock = system_clock) -> None:
        self.path = path
        self.now = clock
        examine(path)
        self.connection = open_writer(path)
        self.checkpoints = Checkpointer(self.connection, path)
        self.tokenize = Tokenizer(self.connection)
        self.image = VectorImage(self.connection)
        self._accesses: dict[int, tuple[int, int]] = {}
        self._deadline: float | None = None
        self._write_deadline = math.inf
        self._purged = not self.checkpoints.is_log_empty  # an engine that was killed may have owed it
        self._abandoned = False
        try:
            migrate(self.connection)
        except BaseException:
            self.connection.close()
            raise
        self.connection.set_progress_handler(self._is_over_deadline, _STEPS_BETWEEN_DEADLINE_CHECKS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Write buffered access counts, empty the log into the file and close. What fails for want of space is left."""
        try:
            if not self._abandoned:
                self._finish()
        finally:
            self._abandoned = True
            self.connection.close()
            self.checkpoints.close()

    def abandon(self) -> None:
        """Close without writing another byte: the file is damaged."""
        self._abandoned = True
        self.close()

    @contextlib.contextmanager
    def read(self, deadline: float) -> Iterator[None]:
        """Let the block read until ``deadline`` (``time.monotonic``); past it, statements end with ``InterruptError``."""
        self._deadline = deadline
        try:
            yield
        finally:
            self._deadline = None

    @contextlib.contextmanager
    def write_group(self) -> Iterator[None]:
        """Run the block in one transaction; when it returns, everything in it is on the disk.

        Reads are never interrupted in here: SQLite would roll back the whole group for the sake of one.
        """
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            self._flush_accesses()
            housekeeping.erase_due(self.connection, self.now(), _ERASED_BESIDE_MAX)
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        self._accesses.clear()
        if self._purged:
            self._scrub_log()

    @contextlib.contextmanager
    def savepoint(self, deadline: float = math.inf) -> Iterator[None]:
        """Run one write of a group so that its failure takes back its own changes only.

        What is long in it asks ``check_deadline`` whether ``deadline`` (``time.monotonic``) has passed.
        """
        self._write_deadline = deadline
        self.connection.execute("SAVEPOINT operation")
        try:
            yield
        except BaseException:
            if self.connection.in_transaction:  # a full disk or an I/O error has rolled back the group already
                self.connection.execute("ROLLBACK TO operation; RELEASE operation")
            raise
        self.connection.execute("RELEASE operation")

    def check_deadline(self) -> None:
        """``deadline_exceeded`` once the time of the present write is over: nobody waits for it, and everybody behind it."""
        if time.monotonic() > self._write_deadline:
            raise RemoteError(ErrorCode.DEADLINE_EXCEEDED, "it took too long; nothing was changed")

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[apsw.Connection]:
        """Yield a second connection that sees the database as it is now, however long the block takes."""
        with self.checkpoints.held_off():
            reader = open_reader(self.path)
            try:
                reader.execute("BEGIN")
                reader.execute("SELECT 1 FROM memories LIMIT 1").fetchall()
                yield reader
            finally:
                reader.close()

    def note_access(self, memory_id: int) -> None:
        """Count a read. It is written with the next write: an fsync for each read would turn reads into writes."""
        reads, _ = self._accesses.get(memory_id, (0, 0))
        self._accesses[memory_id] = (reads + 1, self.now())

    @property
    def owes_erasure(self) -> bool:
        """Whether the log still holds what was purged. The end of any write group tries again."""
        return self._purged

    def note_purge(self) -> None:
        """Have the log overwritten after this group: frames of before still hold what was purged."""
        self._purged = True

    def housekeep(self) -> int | None:
        """Erase a bounded piece of what is due, inside a write group; return when more is due, or ``None`` for never."""
        housekeeping.erase_due(self.connection, self.now(), _ERASED_AT_ONCE_MAX)
        return housekeeping.next_due(self.connection)

    def check_limits(self, limits: Limits, *, added: int = 0) -> None:
        """``quota_exceeded`` if the plan has no room for what this transaction has ``added``, and its commit must not happen.

        It is exact under any concurrency, because it looks at the result inside the transaction that made it.
        """
        if limits.memories is not None and added:
            total = memories.count(self.connection, self.now())
            if total > limits.memories:
                raise _over("memories", total - added, limits.memories)
        if limits.storage_bytes is not None:
            size = statistics.storage_bytes(self.connection)
            if size > limits.storage_bytes:
                raise _over("storage", size, limits.storage_bytes)

    def _scrub_log(self) -> None:
        # A reader of an export may hold on to older frames: then the next group tries again.
        self._purged = not self.checkpoints.run()

    def _finish(self) -> None:
        try:
            if self._accesses:
                with self.write_group():
                    pass
            if self.checkpoints.run():
                # Nothing is left in the log that SQLite could copy unseen: it may remove it.
                self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
        except apsw.Error as error:
            if is_damage(error):
                raise

    def _flush_accesses(self) -> None:
        for memory_id, (reads, at) in self._accesses.items():
            memories.note_access(self.connection, memory_id, reads, at)

    def _is_over_deadline(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline


def _over(metric: str, current: int, limit: int) -> RemoteError:
    message = f"the plan's limit of {limit} for {metric} is reached"
    return RemoteError(ErrorCode.QUOTA_EXCEEDED, message, metric=metric, current=current, limit=limit)
