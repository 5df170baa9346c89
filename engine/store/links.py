"""Rows of ``links``: set, removed, read.

A link whose end lies in the trash, has expired or is staged by an import is hidden, and comes back with it. Erasing a memory
erases its links (the foreign keys cascade).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import apsw
import msgspec

from engine.catalogue.graph import Edge
from engine.catalogue.links import LINKS_PER_MEMORY_MAX, Direction, Link
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.moment import to_text
from engine.recall.graph import present_confidence
from engine.store.selection import VISIBLE


class LinkRow(NamedTuple):
    """One row, in the order of its columns. Times are microseconds since 1970."""

    from_id: int
    to_id: int
    type: str
    strength: float
    confidence: float
    """As of ``reinforced_at``."""
    pinned: bool
    source: str
    source_context: str | None
    valid_from: int | None
    """Inclusive."""
    valid_to: int | None
    """Exclusive."""
    created_at: int
    reinforced_at: int


_COLUMNS = ", ".join(f"l.{name}" for name in LinkRow._fields)
_PUT = f"REPLACE INTO links VALUES ({', '.join('?' * len(LinkRow._fields))})"  # noqa: S608
_REMOVE = "DELETE FROM links WHERE from_id = ? AND to_id = ? AND type = ?"
_GET = f"SELECT {_COLUMNS} FROM links AS l WHERE l.from_id = ? AND l.to_id = ? AND l.type = ?"  # noqa: S608
_COUNT = "SELECT (SELECT count(*) FROM links WHERE from_id = ?) + (SELECT count(*) FROM links WHERE to_id = ?)"
_IS_VISIBLE = f"SELECT 1 FROM memories AS m WHERE m.id = ? AND {VISIBLE}"  # noqa: S608

_GLIMPSE = "SELECT substr(content, 1, ?), type, tags, workspace FROM memories WHERE id = ?"

# CROSS JOIN keeps the order: from the few links of one memory to the memories at their other ends.
_FROM = f"SELECT {_COLUMNS} FROM links AS l CROSS JOIN memories AS m ON m.id = l.to_id WHERE l.from_id = ? AND {VISIBLE}"  # noqa: S608
_TO = f"SELECT {_COLUMNS} FROM links AS l CROSS JOIN memories AS m ON m.id = l.from_id WHERE l.to_id = ? AND {VISIBLE}"  # noqa: S608


def insert(connection: apsw.Connection, row: LinkRow) -> bool:
    """Insert a link between two memories that are there, seen or not; return whether it is new.

    ``invalid`` when one of them has as many links as a memory may have. The caller sees to it that they are two.
    """
    if get(connection, row.from_id, row.to_id, row.type) is not None:
        return False
    for field, memory_id in (("from_id", row.from_id), ("to_id", row.to_id)):
        if connection.execute(_COUNT, (memory_id, memory_id)).get >= LINKS_PER_MEMORY_MAX:
            message = f"{field}: the memory has {LINKS_PER_MEMORY_MAX} links, the most it can have"
            raise RemoteError(ErrorCode.INVALID, message, field=field, limit=LINKS_PER_MEMORY_MAX)
    connection.execute(_PUT, row)
    return True


def replace(connection: apsw.Connection, row: LinkRow) -> None:
    """Write a link anew that is there already."""
    connection.execute(_PUT, row)


def remove(connection: apsw.Connection, from_id: int, to_id: int, edge_type: str) -> bool:
    """Remove a link; return whether it was there."""
    connection.execute(_REMOVE, (from_id, to_id, edge_type))
    return connection.changes() > 0


def get(connection: apsw.Connection, from_id: int, to_id: int, edge_type: str) -> LinkRow | None:
    """Return one link, hidden or not."""
    row = connection.execute(_GET, (from_id, to_id, edge_type)).fetchone()
    return None if row is None else _from_values(row)


def check_end(connection: apsw.Connection, memory_id: int, now: int, field: str) -> None:
    """``not_found``, naming the field, unless the memory can be seen."""
    if connection.execute(_IS_VISIBLE, (memory_id, now)).fetchone() is None:
        raise RemoteError(ErrorCode.NOT_FOUND, f"{field}: there is no such memory", field=field)


def glimpse(connection: apsw.Connection, memory_id: int, characters: int) -> tuple[str, str, list[str], str]:
    """Return the first characters of a memory, its type, tags and workspace: a thousand whole ones would be 64 MiB."""
    beginning, memory_type, tags, workspace = connection.execute(_GLIMPSE, (characters, memory_id)).get
    return beginning, memory_type, msgspec.json.decode(tags, type=list[str]), workspace


def of_memory(
    connection: apsw.Connection,
    memory_id: int,
    now: int,
    *,
    direction: Direction = "both",
    edge_types: Sequence[str] = (),
    valid_only: bool = False,
) -> list[LinkRow]:
    """Return the links of one visible memory whose other ends are visible, in the order of their keys.

    Without ``edge_types``, those of every type; with ``valid_only``, only those that hold at the moment.
    """
    condition = ""
    given: list[str | int] = []
    if edge_types:
        condition += " AND l.type IN (SELECT value FROM json_each(?))"
        given.append(msgspec.json.encode(edge_types).decode())
    if valid_only:
        condition += " AND coalesce(l.valid_from <= ?, 1) AND coalesce(l.valid_to > ?, 1)"
        given += [now, now]
    halves = {"outgoing": [_FROM], "incoming": [_TO], "both": [_FROM, _TO]}[direction]
    statement = " UNION ALL ".join(f"{half}{condition}" for half in halves)
    rows = connection.execute(f"{statement} ORDER BY 1, 2, 3", (memory_id, now, *given) * len(halves))
    return [_from_values(row) for row in rows]


def edges(
    connection: apsw.Connection,
    memory_id: int,
    now: int,
    *,
    direction: Direction = "both",
    edge_types: Sequence[str] = (),
    min_confidence: float = 0.0,
) -> list[Edge]:
    """Return the links that lead on from a visible memory: valid at the moment, and still believed in enough."""
    rows = of_memory(connection, memory_id, now, direction=direction, edge_types=edge_types, valid_only=True)
    found = [
        Edge(from_id=row.from_id, to_id=row.to_id, edge_type=row.type, strength=row.strength, confidence=_confidence(row, now))
        for row in rows
    ]
    return [edge for edge in found if edge.confidence >= min_confidence]


def as_link(row: LinkRow, now: int) -> Link:
    """Return a row as answers show it, with its present confidence."""
    return Link(**described(row, now))


def described(row: LinkRow, now: int) -> dict[str, Any]:
    """Return the fields of ``Link``."""
    return {
        "from_id": row.from_id,
        "to_id": row.to_id,
        "edge_type": row.type,
        "strength": row.strength,
        "confidence": _confidence(row, now),
        "pinned": row.pinned,
        "source": row.source,
        "source_context": row.source_context,
        "valid_from": None if row.valid_from is None else to_text(row.valid_from),
        "valid_to": None if row.valid_to is None else to_text(row.valid_to),
        "created_at": to_text(row.created_at),
        "reinforced_at": to_text(row.reinforced_at),
    }


def _from_values(values: tuple[Any, ...]) -> LinkRow:
    return LinkRow._make((*values[:5], bool(values[5]), *values[6:]))  # SQLite has no booleans


def _confidence(row: LinkRow, now: int) -> float:
    return present_confidence(row.confidence, reinforced_at=row.reinforced_at, pinned=row.pinned, now=now)
