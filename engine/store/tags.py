"""Which tags there are, and how many memories have each. A tag ``a/b`` lies below the tag ``a``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apsw

from engine.catalogue.tag import TagCount

COUNTED_MAX = 10_000
"""Different tags that are looked at, the most frequent first: who has more of them asks for those below a prefix."""

LEVELS_MAX = 8
"""Beginnings of a tag that are counted as well. Deeper hierarchies are counted at their top."""

# The opposite of VISIBLE by the index of each of its parts: what can't be seen is few, what can be seen is everything.
_SHOWN = """
    t.memory_id NOT IN (
        SELECT id FROM memories WHERE deleted_at IS NOT NULL
        UNION ALL SELECT id FROM memories WHERE expires_at <= :now
        UNION ALL SELECT id FROM memories
                  WHERE import_id IS NOT NULL AND import_id NOT IN (SELECT id FROM imports WHERE revealed_at IS NOT NULL)
    )
"""
_IN_WORKSPACE = " AND t.memory_id IN (SELECT id FROM memories WHERE workspace = :workspace AND deleted_at IS NULL)"
# '0' is the character after '/': the range holds all that begins with the tag and a slash.
_FAMILY = "(t.tag = :tag OR t.tag >= :tag || '/' AND t.tag < :tag || '0')"
_COUNTS = "SELECT t.tag, count(*) FROM memory_tags AS t WHERE {condition} GROUP BY t.tag ORDER BY 2 DESC, 1 LIMIT :limit"
_FAMILY_COUNT = "SELECT count(DISTINCT t.memory_id) FROM memory_tags AS t WHERE {condition}"


def most_frequent(
    connection: apsw.Connection, limit: int, now: int, *, workspace: str | None = None, prefix: str | None = None
) -> dict[str, int]:
    """Return how many memories have each tag, the most frequent first, then by name; with a prefix, of its family only."""
    condition, parameters = _condition(workspace, now)
    if prefix is not None:
        condition += f" AND {_FAMILY}"
        parameters["tag"] = prefix
    return dict(connection.execute(_COUNTS.format(condition=condition), parameters | {"limit": limit}))


def hierarchy(
    connection: apsw.Connection, now: int, *, workspace: str | None = None, prefix: str | None = None
) -> list[TagCount]:
    """Return the tags in use and every beginning of one, most memories first, then by name.

    With a ``prefix``, only that tag and what is below it.
    """
    direct = most_frequent(connection, COUNTED_MAX, now, workspace=workspace, prefix=prefix)
    above = {ancestor for tag in direct for ancestor in _ancestors(tag) if prefix is None or _is_within(ancestor, prefix)}
    condition, parameters = _condition(workspace, now)
    query = _FAMILY_COUNT.format(condition=f"{condition} AND {_FAMILY}")
    # A memory may have several tags of one family and counts once: what stands alone needs no such question.
    totals = direct | {tag: connection.execute(query, parameters | {"tag": tag}).get for tag in above}
    found = [TagCount(tag=tag, count=direct.get(tag, 0), total=total) for tag, total in totals.items()]
    return sorted(found, key=lambda entry: (-entry.total, entry.tag))


def _condition(workspace: str | None, now: int) -> tuple[str, dict[str, Any]]:
    if workspace is None:
        return _SHOWN, {"now": now}
    return _SHOWN + _IN_WORKSPACE, {"now": now, "workspace": workspace}


def _ancestors(tag: str) -> Iterator[str]:
    end = tag.find("/", 1)
    for _ in range(LEVELS_MAX):
        if end < 0:
            return
        yield tag[:end]
        end = tag.find("/", end + 1)


def _is_within(tag: str, prefix: str) -> bool:
    return tag == prefix or tag.startswith(f"{prefix}/")
