"""Puts the entries of an import where they will be found once it is revealed.

An id is kept when it is free. When the memory under it has the same text and time of creation, the entry is there already
and is skipped, which makes an import safe to repeat; if that memory lies in the trash, the import brings it back. Otherwise
the entry gets a new id, unless an earlier import has done that already. Two entries of one file that look alike stay two.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import apsw
import msgspec
from msgspec import UNSET

from engine.catalogue.export_file import Entry, VersionEntry
from engine.catalogue.memory import ID_MAX, TTL_SECONDS_DEFAULT
from engine.protocol.moment import from_datetime
from engine.store import imports, memories, word_traces
from engine.store.selection import LIVING

ID_KEPT_MAX = ID_MAX - 2**32
"""Ids above this are mapped, so that an import cannot use up the ids of what comes after it."""

Outcome = Literal["new", "known", "trash", "expired"]
"""The entry is a new memory; is one that is there; is one in the trash; has expired and is not taken."""

_OCCUPANT = f"""
    SELECT m.content, m.created_at, m.deleted_at IS NOT NULL, {LIVING}, m.import_id,
           i.revealed_at IS NULL AND (i.ended_at IS NOT NULL OR i.touched_at <= ?)
    FROM memories AS m LEFT JOIN imports AS i ON i.id = m.import_id WHERE m.id = ?
"""  # noqa: S608
# A purged memory's id is never given out again: a restore could not tell the two apart.
_IS_TAKEN = "SELECT 1 FROM memories WHERE id = ?1 UNION ALL SELECT 1 FROM purges WHERE memory_id = ?1"
_ERASE = "DELETE FROM memories WHERE id = ?"
_TWIN = f"""
    SELECT m.id, m.deleted_at IS NOT NULL FROM memories AS m
    WHERE m.content_hash = ? AND m.content = ? AND m.created_at = ? AND m.type = ? AND m.tags = ? AND m.metadata = ?
      AND m.workspace = ? AND {LIVING}
      AND NOT EXISTS (SELECT 1 FROM import_ids WHERE import_id = ? AND outcome IN ('known', 'trash') AND memory_id = m.id)
    ORDER BY m.deleted_at IS NOT NULL, m.id LIMIT 1
"""  # noqa: S608
_RECORD = "INSERT INTO import_ids VALUES (?, ?, ?, ?, ?)"


class Place(NamedTuple):
    """What an entry has become, and under which id."""

    outcome: Outcome
    memory_id: int | None


def stage(connection: apsw.Connection, import_id: int, position: int, entry: Entry, *, now: int, by: str) -> Outcome:
    """Give the entry at ``position`` of the file its place, unseen, and record it. ``by`` is the key that imports."""
    values = row_values(entry, now, by)
    if values["expires_at"] is not None and values["expires_at"] <= now:
        place = Place("expired", None)
    else:
        place = _place(connection, import_id, entry.id, values, now)
    connection.execute(_RECORD, (import_id, position, entry.id, place.memory_id, place.outcome))
    return place.outcome


def row_values(entry: Entry, now: int, by: str) -> dict[str, Any]:
    """Return the columns of an entry, all but its id."""
    extras = entry.engram_cloud
    created_at = from_datetime(entry.created_at)
    expires_at = None if extras.expires_at is None else from_datetime(extras.expires_at)
    if entry.tier == "permanent":
        expires_at = None  # a permanent memory never expires, whatever the file says
    elif expires_at is None:
        expires_at = now + TTL_SECONDS_DEFAULT * 1_000_000  # Engram's file does not say when: a day, as if it were new
    return text_values(entry) | {
        "version": extras.version,
        "created_at": created_at,
        "updated_at": created_at if entry.updated_at is UNSET else from_datetime(entry.updated_at),
        "accessed_at": None if extras.accessed_at is None else from_datetime(extras.accessed_at),
        "access_count": extras.access_count,
        "expires_at": expires_at,
        "event_time": None if extras.event_time is None else from_datetime(extras.event_time),
        "event_duration_seconds": extras.event_duration_seconds,
        "changed_by": extras.changed_by if extras.changed_by is not None else by or None,
        "change_summary": extras.change_summary,
    }


def text_values(entry: Entry | VersionEntry) -> dict[str, Any]:
    """Return the columns that a memory of a file and a past version of one have alike."""
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
    }


def _place(connection: apsw.Connection, import_id: int, file_id: int, values: dict[str, Any], now: int) -> Place:
    """Insert the entry under its own id, or find what it is already, or insert it under a new id."""
    if file_id <= ID_MAX and connection.execute(_IS_TAKEN, (file_id,)).fetchone() is not None:
        found = _find_itself(connection, import_id, file_id, values, now)
        if found is not None:
            return found
    staged = values | {"import_id": import_id}
    if file_id <= ID_KEPT_MAX and connection.execute(_IS_TAKEN, (file_id,)).fetchone() is None:
        return Place("new", memories.insert(connection, staged | {"id": file_id}))
    identity = [values[name] for name in ("content_hash", "content", "created_at", "type", "tags", "metadata", "workspace")]
    twin = connection.execute(_TWIN, (*identity, now, import_id)).fetchone()
    if twin is not None:
        return Place("trash" if twin[1] else "known", twin[0])
    return Place("new", memories.insert(connection, staged))


def _find_itself(connection: apsw.Connection, import_id: int, memory_id: int, values: dict[str, Any], now: int) -> Place | None:
    """Return the memory under the entry's id if the entry is that memory; what nobody will see again makes way."""
    row = connection.execute(_OCCUPANT, (now, imports.given_up_before(now), memory_id)).fetchone()
    if row is None:
        return None
    content, created_at, is_trashed, is_living, staged_by, is_given_up = row
    is_same = content == values["content"] and created_at == values["created_at"]
    if (staged_by is not None and is_given_up) or (is_same and not is_living and staged_by is None):
        with word_traces.erased(connection, [memory_id]):
            connection.execute(_ERASE, (memory_id,))
        return None
    if is_same and (is_living or staged_by == import_id):
        return Place("trash" if is_trashed else "known", memory_id)
    return None
