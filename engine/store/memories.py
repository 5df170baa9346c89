"""Rows of ``memories``: written, read, changed, deleted, restored, erased, listed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import apsw
import msgspec
from msgspec import UNSET

from engine.catalogue.memory import Memory, Scope
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.moment import to_text
from engine.store import idempotency, versions, word_traces
from engine.store.selection import LIVING, VISIBLE

COLUMNS = (
    "id, content, type, tags, metadata, importance, workspace, scope_type, scope_id, tier, version,"
    " created_at, updated_at, accessed_at, access_count, expires_at, event_time, content_hash, event_duration_seconds,"
    " deleted_at"
)
QUALIFIED = ", ".join(f"m.{column.strip()}" for column in COLUMNS.split(","))

_GET = f"SELECT {QUALIFIED} FROM memories AS m WHERE m.id = ? AND {VISIBLE}"  # noqa: S608
_DELETE = f"UPDATE memories AS m SET deleted_at = ?, deleted_by = ? WHERE m.id = ? AND {VISIBLE}"  # noqa: S608
_RESTORE = (
    f"UPDATE memories AS m SET deleted_at = NULL, deleted_by = NULL WHERE m.id = ? AND m.deleted_at IS NOT NULL AND {LIVING}"  # noqa: S608
)
_LIVING = f"SELECT 1 FROM memories AS m WHERE m.id = ? AND {LIVING}"  # noqa: S608
_TWINS = f"""
    SELECT m.id FROM memories AS m
    WHERE m.content_hash = ? AND m.workspace = ? AND m.scope_type = ? AND m.scope_id IS ? AND {VISIBLE} ORDER BY m.id LIMIT 1
"""  # noqa: S608
_REMEMBER_PURGE = """
    INSERT OR REPLACE INTO purges SELECT id, content_hash, ? FROM memories WHERE id IN (SELECT value FROM json_each(?))
"""
_ERASE = "DELETE FROM memories WHERE id IN (SELECT value FROM json_each(?))"
_TRASHED = f"SELECT m.id FROM memories AS m WHERE m.deleted_at IS NOT NULL AND {LIVING} ORDER BY m.deleted_at, m.id LIMIT ?"  # noqa: S608
_TRASHED_COUNT = f"SELECT count(*) FROM memories AS m WHERE m.deleted_at IS NOT NULL AND {LIVING}"  # noqa: S608
_NOTE_ACCESS = "UPDATE memories SET accessed_at = ?, access_count = access_count + ? WHERE id = ?"
_EXPIRED = "SELECT count(*) FROM memories WHERE expires_at <= ? AND import_id IS NULL"

_tags_decoder = msgspec.json.Decoder(list[str])
_SAID = frozenset({"content", "tags", "metadata"})
"""Columns with words that a customer may want to be gone."""

_object_decoder = msgspec.json.Decoder(dict[str, Any])


def content_hash(content: str) -> str:
    """Return ``sha256:`` and the hex digest of the lower-cased text with its white space collapsed, as Engram has it."""
    return "sha256:" + hashlib.sha256(" ".join(content.lower().split()).encode()).hexdigest()


def insert(connection: apsw.Connection, values: dict[str, Any]) -> int:
    """Insert one row of column names and values; return its id, which ``values`` may prescribe."""
    names = ", ".join(values)
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO memories ({names}) VALUES ({marks})", tuple(values.values()))  # noqa: S608
    return connection.last_insert_rowid()


def change(
    connection: apsw.Connection, memory_id: int, values: dict[str, Any], *, now: int, by: str, why: str | None = None
) -> None:
    """Make a new version of a memory with these columns changed, ``by`` a key; what it was is kept."""
    versions.keep(connection, memory_id)
    values = values | {"updated_at": now, "changed_by": by, "change_summary": why}
    assignments = "".join(f"{name} = ?, " for name in values)
    # A later purge knows the words that the memory has then, and not those that it had before.
    with word_traces.erased(connection, [memory_id] if values.keys() & _SAID else []):
        connection.execute(
            f"UPDATE memories SET {assignments} version = version + 1 WHERE id = ?",  # noqa: S608
            (*values.values(), memory_id),
        )


def get(connection: apsw.Connection, memory_id: int, now: int) -> Memory:
    """Return one memory; ``not_found`` for what is not there, deleted or expired, all with the same words."""
    row = connection.execute(_GET, (memory_id, now)).fetchone()
    if row is None:
        raise not_found()
    return from_row(row)


def get_many(connection: apsw.Connection, ids: Iterable[int], now: int) -> dict[int, Memory]:
    """Return the visible ones of ``ids``, in their order."""
    rows = (connection.execute(_GET, (memory_id, now)).fetchone() for memory_id in ids)
    return {row[0]: from_row(row) for row in rows if row is not None}


def find_twin(connection: apsw.Connection, content_hash: str, workspace: str, scope: Scope, now: int) -> int | None:
    """Return the oldest visible memory that says the same in the same workspace and scope, if there is one."""
    found: int | None = connection.execute(_TWINS, (content_hash, workspace, scope.type, scope.id, now)).get
    return found


def delete(connection: apsw.Connection, memory_id: int, now: int, *, by: str) -> None:
    """Put one memory into the trash, ``by`` a key; ``not_found`` if it can't be seen anyway."""
    connection.execute(_DELETE, (now, by, memory_id, now))
    if connection.changes() == 0:
        raise not_found()


def restore(connection: apsw.Connection, memory_id: int, now: int) -> None:
    """Take one memory out of the trash; ``not_found`` if it is not in there, or has expired in it."""
    connection.execute(_RESTORE, (memory_id, now))
    if connection.changes() == 0:
        raise not_found()


def purge(connection: apsw.Connection, ids: Iterable[int], now: int) -> None:
    """Erase memories for good, in the trash or not, with all that hangs on them, and remember that they were purged.

    ``not_found`` if one of them is not there.
    """
    ids = list(ids)
    for memory_id in ids:
        check_stored(connection, memory_id, now)
    named = msgspec.json.encode(ids).decode()
    connection.execute(_REMEMBER_PURGE, (now, named))
    idempotency.forget(connection, named)
    with word_traces.erased(connection, ids):
        connection.execute(_ERASE, (named,))


def check_stored(connection: apsw.Connection, memory_id: int, now: int) -> None:
    """``not_found`` unless the memory is there, in the trash or not."""
    if connection.execute(_LIVING, (memory_id, now)).fetchone() is None:
        raise not_found()


def trashed(connection: apsw.Connection, now: int, limit: int) -> list[int]:
    """Return the ids of up to ``limit`` memories in the trash, the longest deleted first."""
    return [row[0] for row in connection.execute(_TRASHED, (now, limit))]


def trashed_count(connection: apsw.Connection, now: int) -> int:
    """Return how many memories are in the trash."""
    return int(connection.execute(_TRASHED_COUNT, (now,)).get)


def note_access(connection: apsw.Connection, memory_id: int, count: int, at: int) -> None:
    """Add ``count`` reads, the last of them at ``at``."""
    connection.execute(_NOTE_ACCESS, (at, count, memory_id))


def count(connection: apsw.Connection, now: int) -> int:
    """Return how many memories count against a plan: those in the trash do, those that have expired don't."""
    stored = connection.execute("SELECT value FROM counters WHERE name = 'memories'").get
    return int(stored) - int(connection.execute(_EXPIRED, (now,)).get)


def from_row(row: tuple[Any, ...]) -> Memory:
    """Return a row of ``COLUMNS`` as a memory."""
    return Memory(
        id=row[0],
        content=row[1],
        type=row[2],
        tags=_tags_decoder.decode(row[3]),
        metadata=_object_decoder.decode(row[4]),
        importance=row[5],
        workspace=row[6],
        scope=Scope(row[7], row[8]),
        tier=row[9],
        version=row[10],
        created_at=to_text(row[11]),
        updated_at=to_text(row[12]),
        accessed_at=None if row[13] is None else to_text(row[13]),
        access_count=row[14],
        expires_at=None if row[15] is None else to_text(row[15]),
        event_time=None if row[16] is None else to_text(row[16]),
        content_hash=row[17],
        event_duration_seconds=UNSET if row[18] is None else row[18],
        deleted_at=UNSET if row[19] is None else to_text(row[19]),
    )


def not_found() -> RemoteError:
    """Return the one answer for a memory that this caller can't see, whatever the reason."""
    return RemoteError(ErrorCode.NOT_FOUND, "there is no such memory")
