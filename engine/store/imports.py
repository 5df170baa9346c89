"""Imports: entries staged where nobody sees them, then turned into memories by one transaction.

An id is kept when it is free. When the memory under it has the same text and time of creation, the entry is there already
and is skipped, which makes an import safe to repeat; if that memory was deleted, the import brings it back. Otherwise the
entry gets a new id, and the answer says which.
"""

from __future__ import annotations

from typing import Any

import apsw
import msgspec
from msgspec import UNSET

from engine.catalogue.memory import ID_MAX
from engine.catalogue.transfer import Entry, Imported
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.moment import from_datetime
from engine.store import memories
from engine.store.selection import VISIBLE

ID_KEPT_MAX = ID_MAX - 2**32
"""Ids above this are mapped, so that an import cannot use up the ids of what comes after it."""

STAGED_SECONDS_MAX = 60 * 60
"""An import that was never committed is dropped after an hour."""

_BEGIN = "INSERT INTO imports (created_at) VALUES (?)"
_EXISTS = "SELECT 1 FROM imports WHERE id = ?"
_STAGE = "INSERT OR REPLACE INTO import_entries VALUES (?, ?, ?)"
_COUNT = "SELECT count(*) FROM import_entries WHERE import_id = ?"
_ENTRIES = "SELECT entry FROM import_entries WHERE import_id = ? ORDER BY position"
_ABANDON = "DELETE FROM imports WHERE id = ?"
_ABANDON_OLD = "DELETE FROM imports WHERE created_at < ?"
_OCCUPANT = (
    "SELECT content, created_at, deleted_at IS NULL AND (expires_at IS NULL OR expires_at > ?) FROM memories WHERE id = ?"
)
_TWINS = (
    "SELECT m.id FROM memories AS m WHERE m.content_hash = ? AND m.content = ? AND m.created_at = ? AND m.type = ?"  # noqa: S608
    f" AND m.tags = ? AND m.metadata = ? AND m.workspace = ? AND {VISIBLE} ORDER BY m.id"
)
_ERASE = "DELETE FROM memories WHERE id = ?"

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def begin(connection: apsw.Connection, now: int) -> int:
    """Open an import and return its number."""
    connection.execute(_BEGIN, (now,))
    return connection.last_insert_rowid()


def abandon_old(connection: apsw.Connection, now: int) -> None:
    """Drop the imports that were never finished."""
    connection.execute(_ABANDON_OLD, (now - STAGED_SECONDS_MAX * 1_000_000,))


def stage(connection: apsw.Connection, import_id: int, first: int, entries: list[Entry]) -> int:
    """Add entries at their places in the file; sending a batch again changes nothing. Return how many are staged."""
    if connection.execute(_EXISTS, (import_id,)).fetchone() is None:
        raise RemoteError(ErrorCode.NOT_FOUND, "there is no such import")
    connection.executemany(
        _STAGE, ((import_id, position, _encoder.encode(entry)) for position, entry in enumerate(entries, first))
    )
    return int(connection.execute(_COUNT, (import_id,)).get)


def abandon(connection: apsw.Connection, import_id: int) -> None:
    """Forget a staged import."""
    connection.execute(_ABANDON, (import_id,))


def commit(connection: apsw.Connection, import_id: int, now: int) -> Imported:
    """Turn the staged entries into memories, pending their vectors."""
    if connection.execute(_EXISTS, (import_id,)).fetchone() is None:
        raise RemoteError(ErrorCode.NOT_FOUND, "there is no such import")
    outcome = Imported(imported=0, skipped=0, id_map={})
    spoken_for: set[int] = set()
    blobs: list[tuple[Any, ...]] = connection.execute(_ENTRIES, (import_id,)).fetchall()
    for (blob,) in blobs:
        _reveal(connection, _decoder.decode(blob), outcome, now, spoken_for)
    abandon(connection, import_id)
    return outcome


def _reveal(connection: apsw.Connection, entry: Entry, outcome: Imported, now: int, spoken_for: set[int]) -> None:
    """Make one entry a memory, or find the one it is already.

    ``spoken_for`` holds the memories that entries of this file have become or been found to be: two entries that look
    alike are two memories.
    """
    values = row_values(entry, now)
    occupant = connection.execute(_OCCUPANT, (now, entry.id)).fetchone()
    if occupant is not None and occupant[:2] == (values["content"], values["created_at"]):
        spoken_for.add(entry.id)
        if occupant[2]:
            outcome.skipped += 1
            return
        connection.execute(_ERASE, (entry.id,))  # it was deleted, and is wanted again
        occupant = None
    if occupant is None and entry.id <= ID_KEPT_MAX:
        values["id"] = entry.id
    elif (twin := _find_twin(connection, values, now, spoken_for)) is not None:
        spoken_for.add(twin)
        outcome.skipped += 1
        outcome.id_map[str(entry.id)] = twin
        return
    new_id = memories.insert(connection, values)
    spoken_for.add(new_id)
    outcome.imported += 1
    if new_id != entry.id:
        outcome.id_map[str(entry.id)] = new_id


def _find_twin(connection: apsw.Connection, values: dict[str, Any], now: int, spoken_for: set[int]) -> int | None:
    """Return the visible memory that an earlier import has made of the same entry under another id."""
    identity = [values[name] for name in ("content_hash", "content", "created_at", "type", "tags", "metadata", "workspace")]
    for (memory_id,) in connection.execute(_TWINS, (*identity, now)):
        if memory_id not in spoken_for:
            return int(memory_id)
    return None


def row_values(entry: Entry, now: int) -> dict[str, Any]:
    """Return the columns of an entry, all but its id."""
    extras = entry.engram_cloud
    created_at = from_datetime(entry.created_at)
    updated_at = created_at if entry.updated_at is UNSET else from_datetime(entry.updated_at)
    expires_at = None if extras.expires_at is None else from_datetime(extras.expires_at)
    if entry.tier == "permanent":
        expires_at = None  # a permanent memory never expires, whatever the file says
    elif expires_at is None:
        expires_at = now + 24 * 60 * 60 * 1_000_000  # Engram's file does not say when: a day, as if it were new
    return {
        "content": entry.content,
        "content_hash": memories.content_hash(entry.content),
        "type": "transcript_chunk" if entry.memory_type == "transcriptchunk" else entry.memory_type,
        "tags": msgspec.json.encode(list(dict.fromkeys(entry.tags))).decode(),
        "metadata": msgspec.json.encode(entry.metadata).decode(),
        "importance": entry.importance,
        "workspace": entry.workspace,
        "scope_type": entry.scope_type,
        "scope_id": entry.scope_id,
        "tier": entry.tier,
        "version": extras.version,
        "created_at": created_at,
        "updated_at": updated_at,
        "accessed_at": None if extras.accessed_at is None else from_datetime(extras.accessed_at),
        "access_count": extras.access_count,
        "expires_at": expires_at,
        "event_time": None if extras.event_time is None else from_datetime(extras.event_time),
    }
