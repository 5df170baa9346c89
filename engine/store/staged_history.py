"""The past versions and the links that a file brings beside its memories, under the ids that those have been given.

What hangs on a memory that was there already is there already, too: its versions are not touched. A link is hidden as long as
one of its ends is; one between two memories that were there would show at once, so it is kept aside until the reveal.
"""

from __future__ import annotations

from typing import NamedTuple

import apsw
from msgspec import UNSET

from engine.catalogue.export_file import LinkEntry, VersionEntry
from engine.protocol.errors import invalid
from engine.protocol.moment import from_datetime
from engine.store import links, versions
from engine.store.links import LinkRow
from engine.store.staging import text_values

_LOOK_UP = "SELECT memory_id, outcome FROM import_ids WHERE import_id = ? AND file_id = ? ORDER BY position LIMIT 1"
_VERSION = "SELECT version FROM memories WHERE id = ?"
_INSERT_VERSION = (
    f"INSERT OR IGNORE INTO memory_versions (memory_id, {', '.join(versions.COLUMNS)})"  # noqa: S608
    f" VALUES ({', '.join('?' * (1 + len(versions.COLUMNS)))})"
)
_KEEP_LINK = f"INSERT OR REPLACE INTO import_links VALUES (?, {', '.join('?' * len(LinkRow._fields))})"  # noqa: S608


class _End(NamedTuple):
    """The memory that an id of the file stands for; without an id when it has expired."""

    id: int | None
    is_new: bool


def stage_version(connection: apsw.Connection, import_id: int, entry: VersionEntry) -> None:
    """Store a past version of a memory that this import brings; ``invalid`` when the file does not hold that memory."""
    end = _look_up(connection, import_id, entry.memory_id, "memory_id")
    if not end.is_new:
        return
    present = connection.execute(_VERSION, (end.id,)).get
    if entry.version >= present:
        raise invalid("version", f"must be below the memory's own, {present}")
    if entry.version < present - versions.KEPT_MAX:
        return
    values = text_values(entry) | {
        "version": entry.version,
        "expires_at": None if entry.expires_at is None else from_datetime(entry.expires_at),
        "event_time": None if entry.event_time is None else from_datetime(entry.event_time),
        "event_duration_seconds": entry.event_duration_seconds,
        "updated_at": from_datetime(entry.updated_at),
        "changed_by": entry.changed_by,
        "change_summary": entry.change_summary,
    }
    connection.execute(_INSERT_VERSION, (end.id, *(values[name] for name in versions.COLUMNS)))


def stage_link(connection: apsw.Connection, import_id: int, entry: LinkEntry) -> None:
    """Store a link, unseen; ``invalid`` when the file does not hold its ends, or one has as many as it may have."""
    from_end = _look_up(connection, import_id, entry.from_id, "from_id")
    to_end = _look_up(connection, import_id, entry.to_id, "to_id")
    if entry.from_id == entry.to_id:
        raise invalid("to_id", "a memory can't be linked with itself")
    if from_end.id is None or to_end.id is None or from_end.id == to_end.id:
        return  # an end has expired, or both are one memory here
    row = _row(entry, from_end.id, to_end.id)
    if row.valid_from is not None and row.valid_to is not None and row.valid_from >= row.valid_to:
        raise invalid("valid_to", "must be later than valid_from")
    if from_end.is_new or to_end.is_new:
        links.insert(connection, row)
    elif links.get(connection, row.from_id, row.to_id, row.type) is None:
        connection.execute(_KEEP_LINK, (import_id, *row))


def _look_up(connection: apsw.Connection, import_id: int, file_id: int, field: str) -> _End:
    row = connection.execute(_LOOK_UP, (import_id, file_id)).fetchone()
    if row is None:
        raise invalid(field, "is no memory of this file")
    return _End(row[0], row[1] == "new")


def _row(entry: LinkEntry, from_id: int, to_id: int) -> LinkRow:
    created_at = from_datetime(entry.created_at)
    return LinkRow(
        from_id=from_id,
        to_id=to_id,
        type=entry.edge_type,
        strength=entry.strength,
        confidence=entry.confidence,
        pinned=entry.pinned,
        source=entry.source,
        source_context=entry.source_context,
        valid_from=None if entry.valid_from is None else from_datetime(entry.valid_from),
        valid_to=None if entry.valid_to is None else from_datetime(entry.valid_to),
        created_at=created_at,
        reinforced_at=created_at if entry.reinforced_at is UNSET else from_datetime(entry.reinforced_at),
    )
