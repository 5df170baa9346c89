"""Counts of what reads can see."""

from __future__ import annotations

import apsw

from engine.catalogue.statistics import Stats
from engine.store import passages
from engine.store.selection import VISIBLE

_COUNT = f"SELECT count(*) FROM memories AS m WHERE {VISIBLE}"  # noqa: S608
_BY_TYPE = f"SELECT m.type, count(*) FROM memories AS m WHERE {VISIBLE} GROUP BY 1 ORDER BY 2 DESC, 1"  # noqa: S608
_BY_WORKSPACE = f"SELECT m.workspace, count(*) FROM memories AS m WHERE {VISIBLE} GROUP BY 1 ORDER BY 2 DESC, 1"  # noqa: S608
_BY_TAG = (
    "SELECT t.tag, count(*) FROM memory_tags AS t JOIN memories AS m ON m.id = t.memory_id"  # noqa: S608
    f" WHERE {VISIBLE} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 100"
)


def storage_bytes(connection: apsw.Connection) -> int:
    """Return the size of the pages in use; free ones will be used again before the file grows."""
    pages = connection.pragma("page_count") - connection.pragma("freelist_count")
    return int(pages * connection.pragma("page_size"))


def stats(connection: apsw.Connection, now: int) -> Stats:
    """Return the counts of the whole database."""
    return Stats(
        memories=connection.execute(_COUNT, (now,)).get,
        pending_embeddings=passages.pending_count(connection),
        storage_bytes=storage_bytes(connection),
        embedding_model=passages.model(connection),
        by_type=_counts(connection, _BY_TYPE, now),
        by_workspace=_counts(connection, _BY_WORKSPACE, now),
        by_tag=_counts(connection, _BY_TAG, now),
    )


def _counts(connection: apsw.Connection, query: str, now: int) -> dict[str, int]:
    return {str(name): int(count) for name, count in connection.execute(query, (now,))}
