"""Workspaces, as their memories say: there is no table of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import apsw

from engine.catalogue.workspace import WorkspaceEntry
from engine.protocol.moment import to_text
from engine.store.selection import LIVING, Selection

_LIST = f"""
    WITH workspaces AS (
        SELECT m.workspace, sum(m.deleted_at IS NULL) AS memories, sum(m.deleted_at IS NOT NULL) AS trash,
               coalesce(max(iif(m.deleted_at IS NULL, m.updated_at, NULL)), max(m.deleted_at)) AS updated_at
        FROM memories AS m WHERE {LIVING} GROUP BY m.workspace
    )
    SELECT *, count(*) OVER () FROM workspaces ORDER BY memories DESC, workspace LIMIT ?
"""  # noqa: S608
_TIMES = "SELECT min(m.created_at), max(m.created_at), max(m.updated_at) FROM memories AS m WHERE {condition}"
_IDS = "SELECT m.id FROM memories AS m WHERE {condition} ORDER BY m.id LIMIT ?"


class Times(NamedTuple):
    """Moments in the life of a workspace, as texts; ``None`` while no memory in it can be seen."""

    first_created_at: str | None
    last_created_at: str | None
    updated_at: str | None


def listed(connection: apsw.Connection, limit: int, now: int) -> tuple[list[WorkspaceEntry], int]:
    """Return up to ``limit`` workspaces, and how many there are."""
    rows: list[tuple[Any, ...]] = connection.execute(_LIST, (now, limit)).fetchall()
    entries = [
        WorkspaceEntry(workspace=name, memories=memories, trash=trash, updated_at=to_text(updated_at))
        for name, memories, trash, updated_at, _ in rows
    ]
    return entries, rows[0][-1] if rows else 0


def times(connection: apsw.Connection, workspace: str, now: int) -> Times:
    """Return when the first and the last memory that can be seen were created, and when one last changed."""
    condition, parameters = Selection(workspace=workspace).condition(now)
    moments: tuple[Any, ...] = connection.execute(_TIMES.format(condition=condition), parameters).get
    return Times(*(None if moment is None else to_text(moment) for moment in moments))


def ids(connection: apsw.Connection, workspace: str, limit: int, now: int) -> list[int]:
    """Return the ids of up to ``limit`` memories of a workspace that can be seen, lowest first."""
    condition, parameters = Selection(workspace=workspace).condition(now)
    return [row[0] for row in connection.execute(_IDS.format(condition=condition), (*parameters, limit))]


def count(connection: apsw.Connection, workspace: str, now: int) -> int:
    """Return how many memories of a workspace can be seen."""
    condition, parameters = Selection(workspace=workspace).condition(now)
    return int(connection.execute(f"SELECT count(*) FROM memories AS m WHERE {condition}", parameters).get)  # noqa: S608
