"""What is erased without being asked for: the expired, old trash, old answers, old imports. Always a bounded piece.

Each write group carries a small piece along; a database that nobody writes to is woken when something is due.
"""

from __future__ import annotations

import apsw
import msgspec

from engine.store import idempotency, imports, word_traces

TRASH_SECONDS = 30 * 24 * 60 * 60
"""How long a deleted memory can be restored."""

PURGES_KEPT_SECONDS = 400 * 24 * 60 * 60
"""Longer than any plan's backups reach: what was purged must not come back with a restore."""

_EXPIRED = "SELECT id FROM memories WHERE expires_at <= ? AND import_id IS NULL LIMIT ?"
_ERASE = "DELETE FROM memories WHERE id IN (SELECT value FROM json_each(?))"
_TRASHED = "SELECT id FROM memories WHERE deleted_at <= ? AND import_id IS NULL LIMIT ?"
_FORGET_PURGES = (
    "DELETE FROM purges WHERE memory_id IN (SELECT memory_id FROM purges WHERE purged_at <= ? ORDER BY purged_at LIMIT ?)"
)
_NEXT_EXPIRY = "SELECT min(expires_at) FROM memories WHERE expires_at IS NOT NULL AND import_id IS NULL"
_OLDEST_TRASH = "SELECT min(deleted_at) FROM memories WHERE deleted_at IS NOT NULL AND import_id IS NULL"

_WORDLESS_PER_MEMORY = 50
"""What has no words in the index is so much faster to erase."""


def erase_due(connection: apsw.Connection, now: int, limit: int) -> None:
    """Erase up to ``limit`` memories of each kind whose time is over, and fifty times as much of what is no memory."""
    wordless = limit * _WORDLESS_PER_MEMORY
    expired = [row[0] for row in connection.execute(_EXPIRED, (now, limit))]
    if expired:
        idempotency.forget(connection, msgspec.json.encode(expired).decode())
        _erase(connection, expired)
    _erase(connection, [row[0] for row in connection.execute(_TRASHED, (now - TRASH_SECONDS * 1_000_000, limit))])
    connection.execute(_FORGET_PURGES, (now - PURGES_KEPT_SECONDS * 1_000_000, wordless))
    idempotency.drop_old(connection, now, wordless)
    imports.tidy(connection, now, wordless)


def _erase(connection: apsw.Connection, ids: list[int]) -> None:
    if ids:
        with word_traces.erased(connection, ids):
            connection.execute(_ERASE, (msgspec.json.encode(ids).decode(),))


def next_due(connection: apsw.Connection) -> int | None:
    """Return when something is due next, in microseconds since 1970; ``None`` for never."""
    expiry: int | None = connection.execute(_NEXT_EXPIRY).get
    trashed: int | None = connection.execute(_OLDEST_TRASH).get
    moments = [expiry, None if trashed is None else trashed + TRASH_SECONDS * 1_000_000, imports.next_due(connection)]
    return min((moment for moment in moments if moment is not None), default=None)
