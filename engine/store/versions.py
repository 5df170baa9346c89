"""What a memory was before each of its changes. Its present state is its row in ``memories``."""

from __future__ import annotations

from typing import Any

import apsw

KEPT_MAX = 1000
"""Past versions of one memory; the oldest go first. A program that rewrites one memory for ever must not fill its plan."""

_STATE = (
    "version, content, content_hash, type, tags, metadata, importance, workspace, scope_type, scope_id, tier, expires_at,"
    " event_time, event_duration_seconds, updated_at, changed_by, change_summary"
)
COLUMNS = tuple(name.strip() for name in _STATE.split(","))

_KEEP = f"INSERT INTO memory_versions (memory_id, {_STATE}) SELECT id, {_STATE} FROM memories WHERE id = ?"  # noqa: S608
_DROP_OLD = "DELETE FROM memory_versions WHERE memory_id = ? AND version <= (SELECT version FROM memories WHERE id = ?) - ?"
_PAGE = f"""
    SELECT {_STATE} FROM (
        SELECT {_STATE} FROM memories WHERE id = ?
        UNION ALL SELECT {_STATE} FROM memory_versions WHERE memory_id = ?
    ) WHERE version < ? ORDER BY version DESC LIMIT ?
"""  # noqa: S608

Row = dict[str, Any]
"""One version, by the names of ``COLUMNS``."""


def keep(connection: apsw.Connection, memory_id: int) -> None:
    """Put a memory's present state among its past versions, before a change."""
    connection.execute(_KEEP, (memory_id,))
    connection.execute(_DROP_OLD, (memory_id, memory_id, KEPT_MAX))


def page(connection: apsw.Connection, memory_id: int, *, before: int, limit: int) -> list[Row]:
    """Return up to ``limit`` versions older than version ``before``, newest first, the present one among them."""
    rows = connection.execute(_PAGE, (memory_id, memory_id, before, limit))
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def get(connection: apsw.Connection, memory_id: int, version: int) -> Row | None:
    """Return one version, the present one included; ``None`` for what never was or is no longer kept."""
    found = page(connection, memory_id, before=version + 1, limit=1)
    return found[0] if found and found[0]["version"] == version else None
