"""What a database holds."""

from __future__ import annotations

import msgspec

from engine.catalogue.operation import Arguments, Tool


class MemoryStats(Arguments):
    """``memory_stats`` takes no arguments."""


class Stats(msgspec.Struct):
    """Counts of what reads can see, and the size of the file they are in."""

    memories: int
    pending_embeddings: int
    """Memories whose meaning can't be searched yet."""
    storage_bytes: int
    """Pages of the database in use, times their size."""
    embedding_model: str | None
    by_type: dict[str, int]
    by_workspace: dict[str, int]
    by_tag: dict[str, int]
    """The hundred most frequent tags."""


STATS = Tool(
    name="memory_stats",
    title="Memory statistics",
    description="Count what is stored: per type, workspace and tag, and how much space it takes.",
    arguments=MemoryStats,
    result=Stats,
    kind="read",
)
