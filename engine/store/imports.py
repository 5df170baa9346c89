"""An import's life: begun, staged in bounded transactions, revealed by one small one, cleared away in bounded pieces.

What is staged lies in the final tables, its words and tags with it, marked with the import's number: no read sees it. The
reveal sets one column of one row; taking the marks off is nobody's hurry. An import that is given up, or of which nothing is
heard for an hour, is erased piece by piece. Whatever ends in between is carried on by later write groups.
"""

from __future__ import annotations

import contextlib
from typing import Any

import apsw
import msgspec

from engine.protocol import ErrorCode, RemoteError
from engine.store import links, word_traces
from engine.store.links import LinkRow

STAGED_SECONDS_MAX = 60 * 60
"""An import that is neither committed nor continued is given up after an hour."""

STEPS_AT_ONCE_MAX = 100
"""Small steps of clearing up in one transaction, such as taking a mark off: a few milliseconds' worth."""

ERASED_AT_ONCE_MAX = 12
"""Memories erased in one transaction. The word index forgets for good, which takes it half a millisecond for each."""

_BEGIN = "INSERT INTO imports (created_at, touched_at) VALUES (?, ?)"
_GET = "SELECT revealed_at, ended_at, imported, skipped FROM imports WHERE id = ?"
_IS_OPEN = "SELECT 1 FROM imports WHERE id = ? AND revealed_at IS NULL AND ended_at IS NULL AND touched_at > ?"
_NEXT = "SELECT coalesce(max(position) + 1, 0) FROM import_ids WHERE import_id = ?"
_TOUCH = "UPDATE imports SET touched_at = ?, imported = imported + ?, skipped = skipped + ? WHERE id = ? RETURNING imported"
_REVEAL = "UPDATE imports SET revealed_at = ?, touched_at = ? WHERE id = ?"
_COUNT_REVEALED = """
    UPDATE counters SET value = value + (SELECT count(*) FROM memories WHERE import_id = ?) WHERE name = 'memories'
"""
_END = "UPDATE imports SET ended_at = coalesce(ended_at, ?) WHERE id = ?"
_CHANGED_IDS = """
    SELECT file_id, memory_id, max(position) FROM import_ids
    WHERE import_id = ? AND file_id > ? AND memory_id <> file_id GROUP BY file_id ORDER BY file_id LIMIT ?
"""

_DUE = "SELECT id, revealed_at, ended_at, touched_at FROM imports WHERE revealed_at OR ended_at OR touched_at <= ? ORDER BY id"
_NEXT_DUE = "SELECT min(coalesce(ended_at, revealed_at, touched_at + ?)) FROM imports"
_TRASHED = "SELECT position, memory_id FROM import_ids WHERE import_id = ? AND outcome = 'trash' LIMIT ?"
_UNTRASH = "UPDATE memories SET deleted_at = NULL WHERE id = ?"
_NOTE_RESTORED = "UPDATE import_ids SET outcome = 'known' WHERE import_id = ? AND position = ?"
_LINKS = f"SELECT {', '.join(LinkRow._fields)} FROM import_links WHERE import_id = ? LIMIT ?"  # noqa: S608
_ENDS = "SELECT count(*) FROM memories WHERE id IN (?, ?)"
_DROP_LINK = "DELETE FROM import_links WHERE import_id = ? AND from_id = ? AND to_id = ? AND type = ?"
_UNMARK = "UPDATE memories SET import_id = NULL WHERE id IN (SELECT id FROM memories WHERE import_id = ? LIMIT ?)"
_STAGED = "SELECT id FROM memories WHERE import_id = ? LIMIT ?"
_ERASE = "DELETE FROM memories WHERE id IN (SELECT value FROM json_each(?))"
_FORGET_LINKS = """
    DELETE FROM import_links WHERE (import_id, from_id, to_id, type) IN
        (SELECT import_id, from_id, to_id, type FROM import_links WHERE import_id = ? LIMIT ?)
"""
_FORGET_IDS = """
    DELETE FROM import_ids WHERE import_id = ?1 AND position IN (SELECT position FROM import_ids WHERE import_id = ?1 LIMIT ?2)
"""
_FORGET = "DELETE FROM imports WHERE id = ?"


def begin(connection: apsw.Connection, now: int) -> int:
    """Open an import and return its number."""
    connection.execute(_BEGIN, (now, now))
    return connection.last_insert_rowid()


def check_open(connection: apsw.Connection, import_id: int, now: int) -> None:
    """``not_found`` unless the import may still be added to."""
    if connection.execute(_IS_OPEN, (import_id, given_up_before(now))).fetchone() is None:
        raise _not_found()


def given_up_before(now: int) -> int:
    """Return the time such that an import last heard of then is given up."""
    return now - STAGED_SECONDS_MAX * 1_000_000


def next_position(connection: apsw.Connection, import_id: int) -> int:
    """Return the place in the file of the first entry that has not come yet."""
    return int(connection.execute(_NEXT, (import_id,)).get)


def touch(connection: apsw.Connection, import_id: int, now: int, *, imported: int = 0, skipped: int = 0) -> int:
    """Note that the import goes on, and how many entries a batch has brought; return how many it imports so far."""
    return int(connection.execute(_TOUCH, (now, imported, skipped, import_id)).get)


def reveal(connection: apsw.Connection, import_id: int, now: int) -> tuple[int, int]:
    """Show what was staged, and return how many memories are imported and skipped. Once more, it changes nothing.

    The rest, taking back memories from the trash and setting links between old ones, is begun here and carried on by
    ``settle``: a file of a few thousand such entries would otherwise hold everybody up.
    """
    row = connection.execute(_GET, (import_id,)).fetchone()
    if row is None:
        raise _not_found()
    revealed_at, _, imported, skipped = row
    if revealed_at is None:
        check_open(connection, import_id, now)
        connection.execute(_REVEAL, (now, now, import_id))
        connection.execute(_COUNT_REVEALED, (import_id,))
        _complete(connection, import_id, STEPS_AT_ONCE_MAX)
    return imported, skipped


def changed_ids(connection: apsw.Connection, import_id: int, *, after: int, limit: int) -> list[tuple[int, int]]:
    """Return up to ``limit`` ids of the file past ``after`` that could not be kept, each with the one it has now."""
    return [(row[0], row[1]) for row in connection.execute(_CHANGED_IDS, (import_id, after, limit))]


def end(connection: apsw.Connection, import_id: int, now: int) -> None:
    """Give up an import that was not revealed, or forget one that was: its answer has been read."""
    connection.execute(_END, (now, import_id))


def settle(connection: apsw.Connection, import_id: int) -> bool:
    """Carry one piece of an import's remaining work out; return whether none is left that anybody could notice."""
    row = connection.execute(_GET, (import_id,)).fetchone()
    if row is None:
        return True
    revealed_at, ended_at, *_ = row
    if revealed_at is not None:
        return _complete(connection, import_id, STEPS_AT_ONCE_MAX) < STEPS_AT_ONCE_MAX
    if ended_at is None:
        return True
    _erase(connection, import_id)
    return connection.execute(_GET, (import_id,)).fetchone() is None


def tidy(connection: apsw.Connection, now: int, limit: int) -> None:
    """Carry on what is left to do of the oldest import that has anything left: at most ``limit`` small steps."""
    limit = min(limit, STEPS_AT_ONCE_MAX)
    due: list[tuple[Any, ...]] = connection.execute(_DUE, (given_up_before(now),)).fetchall()
    for import_id, revealed_at, ended_at, touched_at in due:
        if revealed_at is None:
            worked = _erase(connection, import_id)
        else:
            worked = _complete(connection, import_id, limit) > 0 or _step(connection, _UNMARK, import_id, limit)
            if not worked and (ended_at is not None or touched_at <= given_up_before(now)):
                worked = _forget(connection, import_id)
        if worked:
            return


def next_due(connection: apsw.Connection) -> int | None:
    """Return since when, or from when on, ``tidy`` has something to do; ``None`` when there is no import."""
    due: int | None = connection.execute(_NEXT_DUE, (STAGED_SECONDS_MAX * 1_000_000,)).get
    return due


def _complete(connection: apsw.Connection, import_id: int, limit: int) -> int:
    """Restore memories from the trash, then set links between memories that were there; return how many of both."""
    trashed = connection.execute(_TRASHED, (import_id, limit)).fetchall()
    for position, memory_id in trashed:
        connection.execute(_UNTRASH, (memory_id,))
        connection.execute(_NOTE_RESTORED, (import_id, position))
    held: list[tuple[Any, ...]] = connection.execute(_LINKS, (import_id, limit - len(trashed))).fetchall()
    for values in held:
        row = LinkRow(*values)
        connection.execute(_DROP_LINK, (import_id, row.from_id, row.to_id, row.type))
        if connection.execute(_ENDS, (row.from_id, row.to_id)).get == 2:
            with contextlib.suppress(RemoteError):  # one of them has got as many links as it may have since it was checked
                links.insert(connection, row)
    return len(trashed) + len(held)


def _erase(connection: apsw.Connection, import_id: int) -> bool:
    """Erase a piece of what an import that was given up has staged, then its records; return whether there was any."""
    staged = [row[0] for row in connection.execute(_STAGED, (import_id, ERASED_AT_ONCE_MAX))]
    if not staged:
        return _forget(connection, import_id)
    with word_traces.erased(connection, staged):
        connection.execute(_ERASE, (msgspec.json.encode(staged).decode(),))
    return True


def _forget(connection: apsw.Connection, import_id: int) -> bool:
    """Drop a piece of an import's records, at last the import itself."""
    if not any(_step(connection, statement, import_id, STEPS_AT_ONCE_MAX) for statement in (_FORGET_LINKS, _FORGET_IDS)):
        connection.execute(_FORGET, (import_id,))
    return True


def _step(connection: apsw.Connection, statement: str, import_id: int, limit: int) -> bool:
    connection.execute(statement, (import_id, limit))
    return connection.changes() > 0


def _not_found() -> RemoteError:
    return RemoteError(ErrorCode.NOT_FOUND, "there is no such import")
