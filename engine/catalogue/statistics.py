"""What a database holds."""

from __future__ import annotations

import msgspec

from engine.catalogue.memory import Workspace
from engine.catalogue.operation import Arguments, Tool


class MemoryStats(Arguments):
    """Arguments of ``memory_stats``."""

    workspace: Workspace | None = None


class Counts(msgspec.Struct, kw_only=True):
    """Counts of what reads can see, and of what lies in the trash."""

    memories: int
    trash: int
    """Deleted memories that can still be restored. They are in no other count."""
    by_type: dict[str, int]
    by_tier: dict[str, int]
    by_scope: dict[str, int]
    """Per type of scope."""
    by_tag: dict[str, int]
    """The hundred most frequent tags."""


class Stats(Counts, kw_only=True):
    """Counts, and the size of the file they are in, which is the whole database's whatever the workspace."""

    by_workspace: dict[str, int]
    pending_embeddings: int
    """Memories of the whole database that still lack vectors, of the next model while there is one."""
    storage_bytes: int
    """Pages of the database in use, times their size."""
    embedding_model: str | None
    """The model whose vectors are searched."""
    re_embedding_to: str | None = None
    """The model that takes over when no memory lacks its vectors."""


STATS = Tool(
    name="memory_stats",
    title="Memory statistics",
    description="Count what is stored: per type, tier, scope, workspace and tag, in the trash, and how much space it takes.",
    arguments=MemoryStats,
    result=Stats,
    kind="read",
    category="overview",
)
