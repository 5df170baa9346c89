"""Counts of what reads can see, and of the trash."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import apsw

from engine.catalogue.statistics import Stats
from engine.store import passages, tags
from engine.store.selection import Selection

TAGS_MAX = 100

_GROUPS = """
    SELECT m.type, m.tier, m.scope_type, m.workspace, count(*) FROM memories AS m WHERE {condition} GROUP BY 1, 2, 3, 4
"""
_PAGES = "PRAGMA page_count; PRAGMA freelist_count; PRAGMA page_size"
_COUNT = "SELECT count(*) FROM memories AS m WHERE {condition}"


class Tally(NamedTuple):
    """What was counted, by the name of the answer's field."""

    memories: int
    trash: int
    by_type: dict[str, int]
    by_tier: dict[str, int]
    by_scope: dict[str, int]
    by_workspace: dict[str, int]
    by_tag: dict[str, int]


def storage_bytes(connection: apsw.Connection) -> int:
    """Return the size of the pages in use; free ones will be used again before the file grows."""
    pages, free, page_bytes = connection.execute(_PAGES).get
    return int((pages - free) * page_bytes)


def tally(connection: apsw.Connection, workspace: str | None, now: int) -> Tally:
    """Count one workspace's memories, or all. The largest count comes first everywhere, and by name among equals."""
    condition, parameters = Selection(workspace=workspace).condition(now)
    in_trash, trash_parameters = Selection(workspace=workspace, in_trash=True).condition(now)
    # One pass over the table, whose rows are long, instead of one for each kind of count.
    groups: list[tuple[Any, ...]] = connection.execute(_GROUPS.format(condition=condition), parameters).fetchall()
    return Tally(
        memories=sum(count for *_, count in groups),
        trash=connection.execute(_COUNT.format(condition=in_trash), trash_parameters).get,
        by_type=_by_column(groups, 0),
        by_tier=_by_column(groups, 1),
        by_scope=_by_column(groups, 2),
        by_workspace=_by_column(groups, 3),
        by_tag=tags.most_frequent(connection, TAGS_MAX, now, workspace=workspace),
    )


def stats(connection: apsw.Connection, workspace: str | None, now: int) -> Stats:
    """Return the counts of one workspace or of all, and the size of the whole database."""
    return Stats(
        **tally(connection, workspace, now)._asdict(),
        pending_embeddings=passages.pending_count(connection),
        storage_bytes=storage_bytes(connection),
        embedding_model=passages.model(connection),
        re_embedding_to=passages.next_model(connection),
    )


def _by_column(groups: list[tuple[Any, ...]], column: int) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for group in groups:
        counts[group[column]] += group[-1]
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
