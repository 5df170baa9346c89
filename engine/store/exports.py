"""What an export holds, as the objects of the export file: memories, then the links among them, then their past versions.

Only what reads can see: nothing from the trash, nothing that has expired or is staged. All of it of one moment, as the
connection it is read from is a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apsw
import msgspec

from engine.catalogue.export_markdown import Kind
from engine.protocol.moment import to_text
from engine.store import versions
from engine.store.links import LinkRow
from engine.store.selection import REVEALED, Selection

Record = tuple[Kind, dict[str, Any]]
"""What it is, and its fields in the order in which Engram writes them."""

_MEMORY = (
    "id", "content", "type", "tags", "metadata", "importance", "workspace", "scope_type", "scope_id", "tier", "created_at",
    "updated_at", "version", "accessed_at", "access_count", "expires_at", "event_time", "event_duration_seconds",
    "content_hash", "changed_by", "change_summary",
)  # fmt: skip
_MEMORIES = f"SELECT {', '.join(f'm.{name}' for name in _MEMORY)} FROM memories AS m WHERE {{condition}} ORDER BY m.id"  # noqa: S608
_COUNT = "SELECT count(*) FROM memories AS m WHERE {condition}"
# All that is counted less what can't be seen of it, by the index of each: looking at every memory takes a tenth of a second.
_COUNT_EVERYTHING = f"""
    SELECT (SELECT value FROM counters WHERE name = 'memories') - count(*) FROM memories AS m
    WHERE m.id IN (SELECT id FROM memories WHERE deleted_at IS NOT NULL UNION SELECT id FROM memories WHERE expires_at <= ?)
      AND {REVEALED}
"""  # noqa: S608
_VERSIONS = (
    f"SELECT v.memory_id, {', '.join(f'v.{name}' for name in versions.COLUMNS)} FROM memory_versions AS v"  # noqa: S608
    " JOIN memories AS m ON m.id = v.memory_id WHERE {condition} ORDER BY v.memory_id, v.version"
)
_LINKS = (
    f"SELECT {', '.join(f'l.{name}' for name in LinkRow._fields)} FROM links AS l"  # noqa: S608
    " WHERE EXISTS (SELECT 1 FROM memories AS m WHERE m.id = l.from_id AND {condition})"
    " AND EXISTS (SELECT 1 FROM memories AS m WHERE m.id = l.to_id AND {condition}) ORDER BY l.from_id, l.to_id, l.type"
)
_AMONG = " AND m.id IN (SELECT value FROM json_each(?))"


def count(connection: apsw.Connection, selection: Selection, now: int) -> int:
    """Return how many memories an export holds."""
    if selection.is_everything:
        return int(connection.execute(_COUNT_EVERYTHING, (now,)).get)
    condition, parameters = selection.condition(now)
    return int(connection.execute(_COUNT.format(condition=condition), parameters).get)


def everything(connection: apsw.Connection, selection: Selection, now: int) -> Iterator[Record]:
    """Yield the records of an export."""
    yield from memories(connection, selection, now)
    yield from links(connection, selection, now)
    yield from past_versions(connection, selection, now)


def memories(connection: apsw.Connection, selection: Selection, now: int) -> Iterator[Record]:
    """Yield the selected memories in the order of their ids."""
    condition, parameters = selection.condition(now)
    for row in connection.execute(_MEMORIES.format(condition=condition), parameters):
        yield "memory", _memory(dict(zip(_MEMORY, row, strict=True)))


def links(connection: apsw.Connection, selection: Selection, now: int, ids: Sequence[int] | None = None) -> Iterator[Record]:
    """Yield the links between two selected memories, or two of ``ids``."""
    condition, parameters = _among(selection, now, ids)
    for row in connection.execute(_LINKS.format(condition=condition), (*parameters, *parameters)):
        yield "link", _link(LinkRow(*row))


def past_versions(
    connection: apsw.Connection, selection: Selection, now: int, ids: Sequence[int] | None = None
) -> Iterator[Record]:
    """Yield what the selected memories, or ``ids`` of them, were before their changes, oldest first."""
    condition, parameters = _among(selection, now, ids)
    for memory_id, *values in connection.execute(_VERSIONS.format(condition=condition), parameters):
        yield "version", _version(memory_id, dict(zip(versions.COLUMNS, values, strict=True)))


def _among(selection: Selection, now: int, ids: Sequence[int] | None) -> tuple[str, list[Any]]:
    condition, parameters = selection.condition(now)
    if ids is None:
        return condition, parameters
    return condition + _AMONG, [*parameters, msgspec.json.encode(ids).decode()]


def moment(microseconds: int) -> str:
    """Return a time with the numeric offset that Engram writes."""
    return to_text(microseconds)[:-1] + "+00:00"


def _memory(row: dict[str, Any]) -> dict[str, Any]:
    extras = {
        "version": row["version"],
        "accessed_at": _optional(row["accessed_at"]),
        "access_count": row["access_count"],
        "expires_at": _optional(row["expires_at"]),
        "event_time": _optional(row["event_time"]),
        "event_duration_seconds": row["event_duration_seconds"],
        "content_hash": row["content_hash"],
        "changed_by": row["changed_by"],
        "change_summary": row["change_summary"],
    }
    times = {"created_at": moment(row["created_at"]), "updated_at": moment(row["updated_at"])}
    return {"id": row["id"]} | _text(row) | times | {"engram_cloud": extras}


def _version(memory_id: int, row: dict[str, Any]) -> dict[str, Any]:
    beside = {
        "expires_at": _optional(row["expires_at"]),
        "event_time": _optional(row["event_time"]),
        "event_duration_seconds": row["event_duration_seconds"],
        "updated_at": moment(row["updated_at"]),
        "changed_by": row["changed_by"],
        "change_summary": row["change_summary"],
    }
    return {"memory_id": memory_id, "version": row["version"]} | _text(row) | beside


def _text(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "content": row["content"],
        # Engram's own JSON spells this one type without its underscore.
        "memory_type": "transcriptchunk" if row["type"] == "transcript_chunk" else row["type"],
        "tags": msgspec.Raw(row["tags"].encode()),
        "metadata": msgspec.Raw(row["metadata"].encode()),
        "importance": row["importance"],
        "workspace": row["workspace"],
        "scope_type": row["scope_type"],
        "scope_id": row["scope_id"],
        "tier": row["tier"],
    }


def _link(row: LinkRow) -> dict[str, Any]:
    return {
        "from_id": row.from_id,
        "to_id": row.to_id,
        "edge_type": row.type,
        "strength": row.strength,
        "confidence": row.confidence,
        "pinned": bool(row.pinned),
        "source": row.source,
        "source_context": row.source_context,
        "valid_from": _optional(row.valid_from),
        "valid_to": _optional(row.valid_to),
        "created_at": moment(row.created_at),
        "reinforced_at": moment(row.reinforced_at),
    }


def _optional(microseconds: int | None) -> str | None:
    return None if microseconds is None else moment(microseconds)
