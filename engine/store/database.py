"""One tenant's database: its one writing connection, transactions, deadlines, limits and buffered access counts.

A group of writes shares one transaction and so one fsync. Each runs in a savepoint: one that fails leaves no trace and does
not disturb the others. None may be acknowledged before ``write_group`` has returned.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import apsw

from engine.protocol import ErrorCode, Limits, RemoteError
from engine.protocol.moment import Clock, system_clock
from engine.store import imports, memories, statistics
from engine.store.connection import open_reader, open_writer
from engine.store.keyword import Tokenizer
from engine.store.migration import migrate

_STEPS_BETWEEN_DEADLINE_CHECKS = 2000
_PURGE_BATCH = 200


class Database:
    """The file of one tenant, open. A context manager."""

    def __init__(self, path: Path, *, clock: Clock = system_clock) -> None:
        self.path = path
        self.now = clock
        self.connection = open_writer(path)
        self.tokenize = Tokenizer(self.connection)
        self._accesses: dict[int, tuple[int, int]] = {}
        self._deadline: float | None = None
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
        """Write buffered access counts, checkpoint and close."""
        if self._accesses:
            with contextlib.suppress(apsw.Error), self.write_group():
                pass
        self.connection.close()

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
            memories.purge_expired(self.connection, self.now(), _PURGE_BATCH)
            imports.abandon_old(self.connection, self.now())
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        self._accesses.clear()

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """Run one write of a group so that its failure takes back its own changes only."""
        self.connection.execute("SAVEPOINT operation")
        try:
            yield
        except BaseException:
            if self.connection.in_transaction:  # a full disk or an I/O error has rolled back the group already
                self.connection.execute("ROLLBACK TO operation; RELEASE operation")
            raise
        self.connection.execute("RELEASE operation")

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[apsw.Connection]:
        """Yield a second connection that sees the database as it is now, however long the block takes."""
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

    def check_limits(self, limits: Limits, *, added: int = 0) -> None:
        """``quota_exceeded`` if the plan has no room for what this transaction has ``added``, and its commit must not happen.

        It is exact under any concurrency, because it looks at the result inside the transaction that made it.
        """
        if limits.memories is not None and added:
            total = memories.count(self.connection)
            if total > limits.memories:
                raise _over("memories", total - added, limits.memories)
        if limits.storage_bytes is not None:
            size = statistics.storage_bytes(self.connection)
            if size > limits.storage_bytes:
                raise _over("storage", size, limits.storage_bytes)

    def _flush_accesses(self) -> None:
        for memory_id, (reads, at) in self._accesses.items():
            memories.note_access(self.connection, memory_id, reads, at)

    def _is_over_deadline(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline


def _over(metric: str, current: int, limit: int) -> RemoteError:
    message = f"the plan's limit of {limit} for {metric} is reached"
    return RemoteError(ErrorCode.QUOTA_EXCEEDED, message, metric=metric, current=current, limit=limit)
