"""Rows of ``memories``: written, read, changed, deleted, listed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import apsw
import msgspec

from engine.catalogue.memory import Memory, Scope
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.errors import invalid
from engine.protocol.moment import to_text
from engine.store.selection import VISIBLE, Selection

COLUMNS = (
    "id, content, type, tags, metadata, importance, workspace, scope_type, scope_id, tier, version,"
    " created_at, updated_at, accessed_at, access_count, expires_at, event_time, content_hash"
)
_QUALIFIED = ", ".join(f"m.{column.strip()}" for column in COLUMNS.split(","))

_GET = f"SELECT {_QUALIFIED} FROM memories AS m WHERE m.id = ? AND {VISIBLE}"  # noqa: S608
_SOFT_DELETE = f"UPDATE memories AS m SET deleted_at = ? WHERE m.id = ? AND {VISIBLE}"  # noqa: S608
_PURGE_EXPIRED = "DELETE FROM memories WHERE id IN (SELECT id FROM memories WHERE expires_at <= ? LIMIT ?)"
_NOTE_ACCESS = "UPDATE memories SET accessed_at = ?, access_count = access_count + ? WHERE id = ?"

_tags_decoder = msgspec.json.Decoder(list[str])
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


def update(connection: apsw.Connection, memory_id: int, values: dict[str, Any]) -> None:
    """Set columns of one row and raise its version."""
    assignments = "".join(f"{name} = ?, " for name in values)
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
    """Return the visible ones of ``ids``."""
    rows = (connection.execute(_GET, (memory_id, now)).fetchone() for memory_id in ids)
    return {row[0]: from_row(row) for row in rows if row is not None}


def soft_delete(connection: apsw.Connection, memory_id: int, now: int) -> None:
    """Hide one memory; ``not_found`` if it can't be seen anyway."""
    connection.execute(_SOFT_DELETE, (now, memory_id, now))
    if connection.changes() == 0:
        raise not_found()


def purge_expired(connection: apsw.Connection, now: int, limit: int) -> None:
    """Erase up to ``limit`` memories whose time is over."""
    connection.execute(_PURGE_EXPIRED, (now, limit))


def note_access(connection: apsw.Connection, memory_id: int, count: int, at: int) -> None:
    """Add ``count`` reads, the last of them at ``at``."""
    connection.execute(_NOTE_ACCESS, (at, count, memory_id))


def count(connection: apsw.Connection) -> int:
    """Return how many memories are stored and not deleted."""
    return int(connection.execute("SELECT value FROM counters WHERE name = 'memories'").get)


def page(
    connection: apsw.Connection, selection: Selection, *, limit: int, cursor: str | None, now: int
) -> tuple[list[Memory], str | None]:
    """Return up to ``limit`` memories, newest first, and the cursor of the next page, if there is one."""
    condition, parameters = selection.condition(now)
    if cursor is not None:
        condition += " AND (m.created_at, m.id) < (?, ?)"
        parameters += _decode_cursor(cursor)
    rows = connection.execute(
        f"SELECT {_QUALIFIED} FROM memories AS m WHERE {condition}"  # noqa: S608
        " ORDER BY m.created_at DESC, m.id DESC LIMIT ?",
        (*parameters, limit + 1),
    ).fetchall()
    memories = [from_row(row) for row in rows[:limit]]
    return memories, _encode_cursor(rows[limit - 1]) if len(rows) > limit else None


def everything(connection: apsw.Connection, now: int) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of all visible memories in the order of their ids."""
    return connection.execute(f"SELECT {_QUALIFIED} FROM memories AS m WHERE {VISIBLE} ORDER BY m.id", (now,))  # noqa: S608


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
    )


def not_found() -> RemoteError:
    """Return the one answer for a memory that this caller can't see, whatever the reason."""
    return RemoteError(ErrorCode.NOT_FOUND, "there is no such memory")


def _encode_cursor(row: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(f"{row[11]}.{row[0]}".encode()).decode().rstrip("=")


def _decode_cursor(cursor: str) -> list[int]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        created_at, memory_id = (int(part) for part in text.split("."))
        if abs(created_at) >= 2**63 or abs(memory_id) >= 2**63:
            raise ValueError("out of range")
    except ValueError as error:
        raise invalid("cursor", "not a cursor of this list") from error
    return [created_at, memory_id]
