"""One tenant's database: its one writing connection, transactions, deadlines, snapshots and buffered access counts.

A group of writes shares one transaction and so one fsync. Each runs in a savepoint: one that fails leaves no trace and does
not disturb the others. None may be acknowledged before ``write_group`` has returned.
"""

from __future__ import annotations

import contextlib
import errno
import math
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Self

import apsw

from engine.capture import Capture, LiveFiles, PageForm
from engine.free_space import FreeSpace
from engine.protocol import ErrorCode, Limits, RemoteError
from engine.protocol.moment import Clock, system_clock
from engine.store import housekeeping, memories
from engine.store.checkpoint import Checkpointer, examine, settle
from engine.store.connection import CHECKSUM_BYTES, open_reader, open_writer
from engine.store.migration import migrate
from engine.store.quarantine import is_damage
from engine.store.quota import Quota
from engine.store.tokenizer import Tokenizer
from engine.store.vector_image import VectorImage

_STEPS_BETWEEN_DEADLINE_CHECKS = 2000
_ERASED_BESIDE_MAX = 4
"""Memories that a write group erases beside its own work. FTS5's secure-delete takes 2 ms for one of sixty words."""

_ACCESSES_BESIDE_MAX = 64
"""Counts of reads that a write group writes beside its own work: each may rewrite a memory of 64 KiB, so four megabytes."""

_ERASED_AT_ONCE_MAX = 25
"""Memories that a piece of housekeeping erases: requests wait for it, so some 40 ms."""


class Database:
    """The file of one tenant, open. A context manager."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock = system_clock,
        disk_reserve_bytes: int | None = None,
        capture: Capture | None = None,
    ) -> None:
        """``disk_reserve_bytes`` must stay free on the disk; ``None`` is the default of ``FreeSpace``.

        ``capture`` carries what is committed into the outbox, and is closed with the database.
        """
        self.path = path
        self.now = clock
        self._files = LiveFiles(path)
        examine(path)
        settle(path)
        self.connection = open_writer(path)
        self.space = FreeSpace(path.parent, reserve_bytes=disk_reserve_bytes)
        self.quota = Quota(self.connection, clock)
        self.capture = capture
        self._is_closed = False
        try:
            page_bytes: int = self.connection.pragma("page_size")
            form = PageForm(page_bytes, has_checksums=self.connection.reserve_bytes() == CHECKSUM_BYTES)
            self.checkpoints = Checkpointer(self.connection, self._files, form, capture)
            self._purged = not self.checkpoints.is_log_empty  # an engine that was killed may have owed it
            migrate(self.connection)
        except BaseException:
            self._let_go()
            raise
        self.tokenize = Tokenizer(self.connection)
        self.image = VectorImage(self.connection)
        self._accesses: dict[int, tuple[int, int]] = {}
        self._deadline: float | None = None
        self._write_deadline = math.inf
        self._abandoned = False
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
            self._let_go()

    def abandon(self) -> None:
        """Close without writing another byte: the file is damaged."""
        self._abandoned = True
        self.close()

    def leave_as_it_is(self) -> None:
        """Have ``close`` write nothing: what it would build on is not certain. Reading goes on until then."""
        self._abandoned = True

    def flush(self) -> None:
        """Capture all that was committed, but for a large whole (``Capture.needs_thread``). Errors as ``Capture.flush``."""
        if self.capture is not None and not self._abandoned:
            self.capture.flush()

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

        Reads are never interrupted in here: SQLite would roll back the whole group for the sake of one. When the disk fails,
        none of it has happened, or else ``OutcomeUnknown`` says that this is not certain.
        """
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            flushed = self._flush_accesses()
            housekeeping.erase_due(self.connection, self.now(), _ERASED_BESIDE_MAX)
            yield
            self.connection.execute("COMMIT")
        except BaseException as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            if isinstance(error, apsw.FullError | apsw.IOError):
                self.checkpoints.take_back()
            raise
        for memory_id in flushed:
            del self._accesses[memory_id]
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

    def checkpoint_if_due(self) -> None:
        """Empty the log when it is long, or when its room on the disk is needed."""
        if self.space.is_low():
            if self.capture is not None:
                self.capture.give_up()  # a whole needs room, and keeps the log from being emptied
            self.checkpoints.run()
        else:
            self.checkpoints.run_if_due()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[apsw.Connection]:
        """Yield a second connection that sees the database as it is now, however long the block takes."""
        reader = open_reader(self.path)
        try:
            with self.checkpoints.held_off(reader):
                reader.execute("BEGIN")
                reader.execute("SELECT 1 FROM memories LIMIT 1").fetchall()
                yield reader
        finally:
            reader.close()

    def is_full(self, error: BaseException) -> bool:
        """Whether ``error``, just raised by the connection, means that there is no room. SQLite knows it of writes only."""
        out_of_space = isinstance(error, apsw.IOError) and self.connection.system_errno in (errno.ENOSPC, errno.EDQUOT)
        return out_of_space or isinstance(error, apsw.FullError)

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
        """``quota_exceeded`` or ``disk_full`` if there is no room for what this transaction has ``added``; it can't be kept."""
        self.space.check()
        self.quota.check(limits, added=added)

    def _scrub_log(self) -> None:
        # A reader of an export may hold on to older frames, or the disk may fail: the purge is committed, and the next group
        # tries again.
        try:
            self._purged = not self.checkpoints.run()
        except apsw.Error as error:
            if is_damage(error):
                raise

    def _finish(self) -> None:
        try:
            while self._accesses and not self.space.is_low():
                with self.write_group():
                    pass
            if self.capture is not None:
                self.capture.flush_before_checkpoint()
            if self.checkpoints.run():
                if self.capture is not None:
                    self.capture.settle()
                # Nothing is left in the log that SQLite could copy unseen: it may remove it.
                self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
        except apsw.Error as error:
            if is_damage(error):
                raise

    def _let_go(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self.connection.close()
        self._files.close()
        self.space.close()
        if self.capture is not None:
            self.capture.close()

    def _flush_accesses(self) -> list[int]:
        """Write some of what was counted, and return of which memories. Nobody's deletion waits, or fails, for it."""
        if self.space.is_low():
            return []
        flushed = list(islice(self._accesses, _ACCESSES_BESIDE_MAX))
        for memory_id in flushed:
            reads, at = self._accesses[memory_id]
            memories.note_access(self.connection, memory_id, reads, at)
        return flushed

    def _is_over_deadline(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline
