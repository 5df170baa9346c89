"""Memories that stand out without being asked for: the latest, and the important among them."""

from __future__ import annotations

from collections.abc import Iterable

import apsw
import msgspec

from engine.store.selection import Selection

IMPORTANT_FROM = 0.7
"""Well above .5, which a memory has when nobody said how important it is."""

_LATEST_LOOKED_AT = 1000
"""Importance has no index: the important are looked for among so many of the latest."""

_LATEST = "SELECT m.id FROM memories AS m WHERE {condition} ORDER BY m.updated_at DESC, m.id DESC LIMIT ?"
_IMPORTANT = """
    SELECT id FROM (SELECT m.id, m.importance, m.updated_at FROM memories AS m WHERE {condition}
                    ORDER BY m.updated_at DESC, m.id DESC LIMIT ?)
    WHERE importance >= ? ORDER BY importance DESC, updated_at DESC, id DESC LIMIT ?
"""
_AMONG = "SELECT m.id FROM json_each(?) AS j CROSS JOIN memories AS m ON m.id = j.value WHERE {condition}"


def latest(connection: apsw.Connection, selection: Selection, limit: int, now: int) -> list[int]:
    """Return the ids of the selected memories changed last, the last first."""
    condition, parameters = selection.condition(now)
    return [row[0] for row in connection.execute(_LATEST.format(condition=condition), (*parameters, limit))]


def important(connection: apsw.Connection, selection: Selection, limit: int, now: int) -> list[int]:
    """Return the ids of the most important of the selected memories changed last, the most important first."""
    condition, parameters = selection.condition(now)
    given = (*parameters, _LATEST_LOOKED_AT, IMPORTANT_FROM, limit)
    return [row[0] for row in connection.execute(_IMPORTANT.format(condition=condition), given)]


def among(connection: apsw.Connection, selection: Selection, ids: Iterable[int], now: int) -> set[int]:
    """Return which of ``ids`` are selected."""
    condition, parameters = selection.condition(now)
    named = msgspec.json.encode(list(ids)).decode()
    return {row[0] for row in connection.execute(_AMONG.format(condition=condition), (named, *parameters))}
