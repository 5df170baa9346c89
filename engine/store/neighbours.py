"""What stands around a memory: the turns before and after it in its session, its date, and how it looks in short.

Whoever stores a conversation without saying which session a turn is from still stores it turn by turn, as ``Name: words``. Such
memories, one right after the other and of one workspace, scope and hour, follow one another too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import apsw
import msgspec

from engine.recall.dates import Period
from engine.recall.form import SPEAKER_CHARACTERS_MAX, speaker
from engine.store.selection import REVEALED, Selection

READ_CHARACTERS_MAX = 1000
"""A longer text is no turn of a conversation, and its form tells nothing."""

# Turns of one time stand in the order of their ids. SQLite goes by an index to a time or to an id within a time, not to a pair
# of both, so the two are asked for one after the other.
_SIDE = f"""
    SELECT json_group_array(id) FROM (
        SELECT * FROM (
            SELECT m.id, m.happened_at FROM memories AS m
            WHERE m.workspace = f.workspace AND m.session = f.session AND m.happened_at = f.happened_at AND m.id {{sign}} f.id
              AND m.deleted_at IS NULL AND (m.expires_at IS NULL OR m.expires_at > :now) AND {REVEALED}
            ORDER BY m.id {{order}} LIMIT :reach)
        UNION ALL SELECT * FROM (
            SELECT m.id, m.happened_at FROM memories AS m
            WHERE m.workspace = f.workspace AND m.session = f.session AND m.happened_at {{sign}} f.happened_at
              AND m.deleted_at IS NULL AND (m.expires_at IS NULL OR m.expires_at > :now) AND {REVEALED}
            ORDER BY m.happened_at {{order}}, m.id {{order}} LIMIT :reach)
        ORDER BY happened_at {{order}}, id {{order}} LIMIT :reach)
"""  # noqa: S608
_BEFORE, _AFTER = _SIDE.format(sign="<", order="DESC"), _SIDE.format(sign=">", order="ASC")
_AROUND = f"""
    WITH f AS MATERIALIZED (
        SELECT t.id, t.workspace, t.session, t.happened_at
        FROM json_each(:ids) AS j CROSS JOIN memories AS t ON t.id = j.value WHERE t.session IS NOT NULL
    ) SELECT f.id, ({_BEFORE}), ({_AFTER}) FROM f
"""  # noqa: S608
_TIMES = """
    SELECT m.id, m.happened_at, m.happened_at + 1000000 * coalesce(m.event_duration_seconds, 0)
    FROM json_each(?) AS j CROSS JOIN memories AS m ON m.id = j.value
"""
_GLIMPSES = f"""
    SELECT m.id, m.workspace, m.session, m.happened_at, m.happened_at + 1000000 * coalesce(m.event_duration_seconds, 0),
           m.importance, m.updated_at, CASE WHEN octet_length(m.content) <= {READ_CHARACTERS_MAX} THEN m.content END
    FROM json_each(?) AS j CROSS JOIN memories AS m ON m.id = j.value
"""  # noqa: S608

# By the index of times, whatever else is asked for: it gives the latest first without a sort.
_DATED = """
    SELECT m.id FROM memories AS m INDEXED BY memories_by_event
    WHERE m.event_time >= ? AND m.event_time < ? AND {condition} ORDER BY m.event_time DESC, m.id DESC LIMIT ?
"""
_WRITTEN_BESIDE = f"""
    SELECT f.id, m.id, m.workspace, m.scope_type, m.scope_id, m.event_time, substr(m.content, 1, {SPEAKER_CHARACTERS_MAX + 2})
    FROM json_each(:ids) AS j
    CROSS JOIN memories AS f ON f.id = j.value AND instr(substr(f.content, 1, {SPEAKER_CHARACTERS_MAX + 2}), ':')
    CROSS JOIN memories AS m ON m.id BETWEEN f.id - :reach AND f.id + :reach
    WHERE m.session IS NULL AND m.deleted_at IS NULL AND (m.expires_at IS NULL OR m.expires_at > :now) AND {REVEALED}
    ORDER BY 1, 2
"""  # noqa: S608

_HOUR = 60 * 60 * 1_000_000
_SPEAKERS_MAX = 4
"""Labels at the beginning of texts are speakers' names when they are few and come again."""

_ids_decoder = msgspec.json.Decoder(list[int])


@dataclass(frozen=True, slots=True)
class Around:
    """The ids of the turns before and after a memory, nearest first."""

    before: Sequence[int] = ()
    after: Sequence[int] = ()


class Glimpse(NamedTuple):
    """A memory in short. Times are microseconds since 1970."""

    id: int
    workspace: str
    session: str | None
    start: int
    end: int
    """When what it tells of happened, or, if it doesn't say, when it was stored."""
    importance: float
    updated_at: int
    text: str | None
    """The content, unless it is long."""


def around(connection: apsw.Connection, ids: Iterable[int], now: int, *, reach: int) -> dict[int, Around]:
    """Return up to ``reach`` visible turns on both sides of each of ``ids`` that is a turn of a conversation."""
    wanted = list(ids)
    rows = connection.execute(_AROUND, {"ids": _json(wanted), "now": now, "reach": reach})
    found = {memory_id: Around(_ids_decoder.decode(before), _ids_decoder.decode(after)) for memory_id, before, after in rows}
    others = [memory_id for memory_id in wanted if memory_id not in found]
    written = connection.execute(_WRITTEN_BESIDE, {"ids": _json(others), "now": now, "reach": reach}) if others else ()
    for memory_id, group in groupby(written, key=itemgetter(0)):
        turns = _talk(memory_id, [_Line(*row[1:]) for row in group])
        if turns is not None:
            found[memory_id] = turns
    return found


class _Line(NamedTuple):
    id: int
    workspace: str
    scope_type: str
    scope_id: str | None
    event_time: int | None
    beginning: str

    def follows(self, other: _Line) -> bool:
        """Say whether the two may be of one conversation."""
        if abs(self.id - other.id) != 1 or self[1:4] != other[1:4] or (self.event_time is None) != (other.event_time is None):
            return False
        return self.event_time is None or other.event_time is None or abs(self.event_time - other.event_time) <= _HOUR


def _talk(memory_id: int, lines: list[_Line]) -> Around | None:
    """Return what stands around a memory among lines of neighbouring ids, if that is a conversation."""
    middle = next((place for place, line in enumerate(lines) if line.id == memory_id), None)
    if middle is None:
        return None
    sides: list[list[int]] = []
    names = [speaker(lines[middle].beginning)]
    for step in (-1, 1):
        side: list[int] = []
        place = middle
        while 0 <= place + step < len(lines) and lines[place + step].follows(lines[place]):
            place += step
            name = speaker(lines[place].beginning)
            if name is None:
                break
            names.append(name)
            side.append(lines[place].id)
        sides.append(side)
    is_talk = None not in names and len(set(names)) <= min(_SPEAKERS_MAX, len(names) - 1)
    return Around(*sides) if is_talk else None


def glimpses(connection: apsw.Connection, ids: Iterable[int]) -> dict[int, Glimpse]:
    """Return what each of ``ids`` looks like in short."""
    return {row[0]: Glimpse(*row) for row in connection.execute(_GLIMPSES, (_json(ids),))}


def times(connection: apsw.Connection, ids: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Return when what each of ``ids`` tells of started and ended, in microseconds since 1970."""
    return {row[0]: (row[1], row[2]) for row in connection.execute(_TIMES, (_json(ids),))}


def dated(connection: apsw.Connection, periods: Sequence[Period], selection: Selection, *, limit: int, now: int) -> list[int]:
    """Return up to ``limit`` selected memories that began in one of ``periods``, the latest first, if they say when."""
    condition, parameters = selection.condition(now)
    query = _DATED.format(condition=condition)
    found: dict[int, None] = {}
    for period in sorted(periods, key=lambda period: -period.start):
        rows = connection.execute(query, (period.start, period.end, *parameters, limit - len(found)))
        found |= dict.fromkeys(row[0] for row in rows)
        if len(found) >= limit:
            break
    return list(found)


def _json(ids: Iterable[int]) -> str:
    return msgspec.json.encode(list(ids)).decode()
