"""What a plan lets one database hold, kept to the byte inside the transaction that would go over it.

Three bounds, each behind the one before:

- A write that stores something may not leave the database larger than the limit.
- One that gives something back may need room for it, an entry of an index or a page that splits, and so may go over the limit
  by a reserve. Deleting everything, one by one, takes less.
- ``max_page_count`` stands behind both, should there be a write that nobody thought of: SQLite itself then refuses to grow the
  file and rolls the transaction back. It does not bound the log; ``engine.store.checkpoint`` does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import apsw

from engine.protocol import Caller, ErrorCode, Limits, RemoteError
from engine.protocol.moment import Clock
from engine.store import memories, statistics

_RESERVE_SHARE = 5
"""One part in so many of the limit is the reserve. Putting 2,000 memories of a few words into the trash, one by one, makes the
file a tenth larger on the way; longer ones less, and any that had vectors smaller."""

_RESERVE_BYTES_MIN = 256 * 1024

_TRANSIENT_BYTES_MAX = 64 * 1024 * 1024
"""How far one write may be over the limit before its end, where it is refused by name: a frame of 16 MiB, its words, its tags
and what it replaces. Below it, SQLite's plain refusal would come first."""

_PAGES_MAX = 4_294_967_294
"""SQLite's own bound (https://www.sqlite.org/limits.html, 12): no limit."""


def reserve_bytes(limit: int) -> int:
    """Return by how much a database may be over a storage limit so that it can be made smaller."""
    return max(limit // _RESERVE_SHARE, _RESERVE_BYTES_MIN)


class Quota:
    """The bounds of one database. Belongs to its writing connection."""

    def __init__(self, connection: apsw.Connection, now: Clock) -> None:
        self._connection = connection
        self._now = now
        self._known = Limits()
        self._stores = True

    def learn(self, caller: Caller) -> Limits:
        """Return the limits for a write of ``caller``, and remember them: what is no customer's request brings none."""
        if caller.key_id and caller.limits != self._known:
            if caller.limits.storage_bytes != self._known.storage_bytes:
                self._bound(caller.limits.storage_bytes)
            self._known = caller.limits
        return self._known

    @contextlib.contextmanager
    def kept(self, caller: Caller, *, frees: bool) -> Iterator[None]:
        """Run one write; ``quota_exceeded`` at its end, inside its savepoint, if it made the database larger than it may be.

        A write that ``frees`` may use the reserve, unless it turned out to store something (``check``).
        """
        limit = self.learn(caller).storage_bytes
        if limit is None:
            yield
            return
        before = statistics.storage_bytes(self._connection)
        self._stores = not frees
        yield
        after = self._written_bytes()
        if after > before and after > (limit if self._stores else limit + reserve_bytes(limit)):
            raise _over("storage", after, limit)

    def check(self, limits: Limits, *, added: int = 0) -> None:
        """``quota_exceeded`` if the plan has no room for what this transaction holds, ``added`` memories among it.

        It is exact under any concurrency, because it looks at the result inside the transaction that made it.
        """
        self._stores = True
        if limits.memories is not None and added:
            total = memories.count(self._connection, self._now())
            if total > limits.memories:
                raise _over("memories", total - added, limits.memories)
        if limits.storage_bytes is not None:
            size = self._written_bytes()
            if size > limits.storage_bytes:
                raise _over("storage", size, limits.storage_bytes)

    def exceeded(self) -> RemoteError | None:
        """Return the refusal of a write that SQLite itself has stopped at the last of the bounds; ``None`` if that was not it.

        SQLite says the same of a disk that is full. Only a database that is near its limit can have come so far.
        """
        limit = self._known.storage_bytes
        size = statistics.storage_bytes(self._connection)
        if limit is None or size + _TRANSIENT_BYTES_MAX <= limit:
            return None
        return _over("storage", size, limit)

    def _written_bytes(self) -> int:
        """Return the size with the words that were added: FTS5 keeps them in memory until a savepoint, or the commit."""
        self._connection.execute("SAVEPOINT measured; RELEASE measured")
        return statistics.storage_bytes(self._connection)

    def _bound(self, limit: int | None) -> None:
        pages = _PAGES_MAX
        if limit is not None:
            most = limit + reserve_bytes(limit) + _TRANSIENT_BYTES_MAX
            pages = min(_PAGES_MAX, most // self._connection.pragma("page_size"))
        # A database that is larger already, after a change of plan, keeps the pages it has: SQLite goes no lower.
        self._connection.pragma("max_page_count", pages)


def _over(metric: str, current: int, limit: int) -> RemoteError:
    message = f"the plan's limit of {limit} for {metric} is reached"
    return RemoteError(ErrorCode.QUOTA_EXCEEDED, message, metric=metric, current=current, limit=limit)
