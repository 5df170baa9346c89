"""Searching in two steps, for whoever pays by the token: short hits first, then the few memories wanted in full."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated

import msgspec
from msgspec import Meta

from engine.catalogue.memory import Filter, Memory, MemoryId, MemoryType, Tag, Tier, Workspace
from engine.catalogue.operation import Arguments, Embeds, Tool
from engine.catalogue.search import Mode, SearchResult

EXPANDED_MAX = 50
"""Memories read in one call: more than anybody looks at, and at most 3 MiB."""


class CompactSearch(Arguments):
    """Arguments of ``memory_search_compact``."""

    query: Annotated[str, Meta(min_length=1, max_length=4096, description="What to look for, in plain words.")]
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    mode: Mode = "auto"
    workspace: Workspace | None = None
    type: MemoryType | None = None
    tags: Annotated[list[Tag], Meta(max_length=16, description="Only memories with all of these.")] = []
    tier: Tier | None = None
    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.0
    filter: Filter | None = None


class MemoryExpand(Arguments):
    """Arguments of ``memory_expand``."""

    ids: Annotated[list[MemoryId], Meta(min_length=1, max_length=EXPANDED_MAX, description="Ids of compact hits.")]


class Expanded(msgspec.Struct):
    """The memories in the order asked for, each once; ``missing`` ids are of none that is there."""

    memories: list[Memory]
    missing: list[int]


def _query(arguments: CompactSearch) -> list[str]:
    return [] if arguments.mode == "keyword" else [arguments.query]


SEARCH_COMPACT = Tool(
    name="memory_search_compact",
    title="Search, short answers",
    description="Search as memory_search does, but get only ids and excerpts. Read what you need with memory_expand.",
    arguments=CompactSearch,
    result=SearchResult,
    kind="read",
    category="search",
    embeds=Embeds(texts=_query, purpose="query"),
    aliases=MappingProxyType({"strategy": "mode", "memory_type": "type"}),
)
EXPAND = Tool(
    name="memory_expand",
    title="Read several memories",
    description=f"Read up to {EXPANDED_MAX} memories in full by their ids.",
    arguments=MemoryExpand,
    result=Expanded,
    kind="read",
    category="search",
)
