"""Search: by word, by meaning, or by both."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.catalogue.memory import Memory, MemoryType, Tag, Tier, Workspace
from engine.catalogue.operation import Arguments, Embeds, Tool

Mode = Literal["auto", "keyword", "semantic", "hybrid"]


class MemorySearch(Arguments):
    """Arguments of ``memory_search``."""

    query: Annotated[str, Meta(min_length=1, max_length=4096, description="What to look for, in plain words.")]
    limit: Annotated[int, Meta(ge=1, le=100)] = 10
    mode: Annotated[Mode, Meta(description="`auto` uses words and meaning wherever both are there.")] = "auto"
    workspace: Workspace | None = None
    type: MemoryType | None = None
    tags: Annotated[list[Tag], Meta(max_length=16, description="Only memories with all of these.")] = []
    tier: Tier | None = None
    explain: Annotated[bool, Meta(description="Say how each score came about.")] = False


class Explanation(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The parts of a score. A part that played no role is left out."""

    bm25: float | None = None
    """FTS5's bm25 with its sign turned: higher is better."""
    coverage: float | None = None
    """Share of the query's information (idf) that the memory's words cover, 0 to 1."""
    keyword: float | None = None
    """What bm25 and coverage contributed, 0 to 1."""
    cosine: float | None = None
    """Cosine of the query's vector and the best passage's, −1 to 1."""
    semantic: float | None = None
    """What the cosine contributed, 0 to 1."""
    passage: tuple[int, int] | None = None
    """Where in the content the best passage starts and ends, in characters."""


class Hit(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One memory found. ``score`` is in (0, 1], higher is better."""

    memory: Memory
    score: float
    highlights: list[str] = []
    """Stretches of the content around the words found, which are set between ** and **."""
    explain: Explanation | None = None


class SearchResult(msgspec.Struct):
    """Hits, best first; ``mode`` says what was really done."""

    results: list[Hit]
    mode: str
    took_ms: float


SEARCH = Tool(
    name="memory_search",
    title="Search memories",
    description=(
        "Find memories by meaning and by words. Use it before answering from memory and before storing something that may"
        " be known already. Ask in plain words; best hits come first."
    ),
    arguments=MemorySearch,
    result=SearchResult,
    kind="read",
    embeds=Embeds(argument="query", purpose="query"),
    aliases=MappingProxyType({"strategy": "mode", "memory_type": "type"}),
)
