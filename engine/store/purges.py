"""What was erased for good, and what sees to it that it stays so when the database becomes another: an earlier state, a fork.

A purge is remembered by the memory's id and the hash of what it said last. An earlier state may hold an earlier version of it,
which says something else: it is what was purged all the same, because an id is never given to another memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import apsw
import msgspec

from engine.catalogue.recovery import Purge
from engine.store import idempotency, word_traces

ERASED_AT_ONCE_MAX = 2
"""Memories between two looks of the caller at the clock: 2 ms for a short one, 400 for one of 64 KiB."""

_PAGE = "SELECT memory_id, content_hash, purged_at FROM purges WHERE memory_id > ? ORDER BY memory_id LIMIT ?"
_IS_PURGED = "SELECT 1 FROM purges WHERE memory_id = ?"
_REMEMBER = """
    INSERT INTO purges VALUES (?, ?, ?) ON CONFLICT (memory_id) DO UPDATE
    SET content_hash = excluded.content_hash, purged_at = excluded.purged_at WHERE excluded.purged_at > purged_at
"""
_STORED = "SELECT id FROM memories WHERE id IN (SELECT value FROM json_each(?))"
_ERASE = "DELETE FROM memories WHERE id IN (SELECT value FROM json_each(?))"
_RAISE = "UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1"
_BEGIN = (
    "INSERT INTO sqlite_sequence (name, seq) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?1)"
)


def pages(connection: apsw.Connection, limit: int) -> Iterator[list[Purge]]:
    """Yield everything that was purged, up to ``limit`` at a time. Each page is a read of its own: nothing is held between."""
    after = -1
    while page := [Purge(*row) for row in connection.execute(_PAGE, (after, limit))]:
        yield page
        after = page[-1].memory_id


def is_purged(connection: apsw.Connection, memory_id: int) -> bool:
    """Whether a memory with this id was purged."""
    return connection.execute(_IS_PURGED, (memory_id,)).get is not None


def reserve_ids(connection: apsw.Connection, table: str, highest: int) -> None:
    """Never give out ids up to ``highest``: they were another database's that this one goes on from, or stands beside."""
    connection.execute(_RAISE, (table, highest))
    connection.execute(_BEGIN, (table, highest))


def carry(connection: apsw.Connection, purges: Sequence[Purge]) -> Iterator[int]:
    """Remember these purges and erase what is there of them, as a purge does, in the caller's transaction.

    Yield how many memories were erased, piece by piece. The log still holds them afterwards. Once more, it changes nothing.
    """
    if purges:
        # An earlier state has not come to all of these ids. One that it gave out anew would be taken for what was purged.
        reserve_ids(connection, "memories", max(purge.memory_id for purge in purges))
    connection.executemany(_REMEMBER, ((purge.memory_id, purge.content_hash, purge.purged_at) for purge in purges))
    stored = [row[0] for row in connection.execute(_STORED, (_json([purge.memory_id for purge in purges]),))]
    for first in range(0, len(stored), ERASED_AT_ONCE_MAX):
        ids = stored[first : first + ERASED_AT_ONCE_MAX]
        idempotency.forget(connection, _json(ids))
        with word_traces.erased(connection, ids):
            connection.execute(_ERASE, (_json(ids),))
        yield len(ids)


def _json(ids: Sequence[int]) -> str:
    return msgspec.json.encode(ids).decode()
