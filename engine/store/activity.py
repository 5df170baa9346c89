"""What happened to memories, read off their versions and the trash: there is no log of its own that could disagree."""

from __future__ import annotations

import apsw

from engine.catalogue.activity import EXCERPT_CHARACTERS, Event
from engine.protocol.moment import to_text
from engine.store.selection import Selection

# An event among the newest N belongs to one of the N memories touched last: each of those has an event that is no older.
_EVENTS = """
    WITH touched (id) AS (
        SELECT * FROM (SELECT m.id FROM memories AS m WHERE {living} AND m.updated_at >= ?
                       ORDER BY m.updated_at DESC, m.id DESC LIMIT ?)
        UNION ALL
        SELECT * FROM (SELECT m.id FROM memories AS m WHERE {trashed} AND m.deleted_at >= ?
                       ORDER BY m.deleted_at DESC, m.id DESC LIMIT ?)
    ), events AS (
        SELECT iif(m.version = 1 AND m.created_at = m.updated_at, 'created', 'updated') AS what, m.updated_at AS at, m.id,
               m.version, m.changed_by, m.change_summary, m.type, m.workspace, substr(m.content, 1, {characters}) AS excerpt
        FROM touched JOIN memories AS m USING (id)
        UNION ALL
        SELECT iif(v.version = 1, 'created', 'updated'), v.updated_at, v.memory_id,
               v.version, v.changed_by, v.change_summary, v.type, v.workspace, substr(v.content, 1, {characters})
        FROM touched JOIN memory_versions AS v ON v.memory_id = touched.id
        UNION ALL
        SELECT 'deleted', m.deleted_at, m.id, m.version, m.deleted_by, NULL, m.type, m.workspace,
               substr(m.content, 1, {characters})
        FROM touched JOIN memories AS m USING (id) WHERE m.deleted_at IS NOT NULL
    )
    SELECT * FROM events WHERE at >= ? ORDER BY at DESC, id DESC, version DESC, what = 'deleted' DESC LIMIT ?
"""


def events(connection: apsw.Connection, workspace: str | None, *, since: int, limit: int, now: int) -> list[Event]:
    """Return up to ``limit`` events since then, newest first, of memories that are now in the workspace, or in any.

    What was erased has left no trace here, and what has expired is not shown.
    """
    living, living_parameters = Selection(workspace=workspace).condition(now)
    trashed, trashed_parameters = Selection(workspace=workspace, in_trash=True).condition(now)
    rows = connection.execute(
        _EVENTS.format(living=living, trashed=trashed, characters=EXCERPT_CHARACTERS),
        (*living_parameters, since, limit, *trashed_parameters, since, limit, since, limit),
    )
    return [
        Event(
            what=what,
            at=to_text(at),
            id=memory_id,
            version=version,
            by=by or None,  # a change that no key asked for has none
            summary=summary,
            type=memory_type,
            workspace=its_workspace,
            excerpt=excerpt,
        )
        for what, at, memory_id, version, by, summary, memory_type, its_workspace, excerpt in rows
    ]
