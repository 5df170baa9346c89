"""Search: by word, by meaning, or by both."""

from __future__ import annotations

from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.catalogue.memory import Filter, Memory, MemoryType, Scope, Tag, Tier, Workspace
from engine.catalogue.operation import Arguments, Embeds, Tool

Mode = Literal["auto", "keyword", "semantic", "hybrid"]


EXCERPT_CHARACTERS_MAX = 160
"""What a compact hit shows of a memory: two lines."""

Weight = Annotated[float, Meta(ge=0, le=1)]


class Signals(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """How much else may count beside a memory's own words and meaning, each from 0 (nothing) to 1 (all it can)."""

    session: Annotated[Weight, Meta(description="The turns around a memory in its session, and the session's best turn.")] = 1.0
    dates: Annotated[Weight, Meta(description="Dates in the query, against when a memory happened.")] = 1.0
    form: Annotated[Weight, Meta(description="Whether a text asks or answers, says when, says next to nothing.")] = 1.0
    recency: Annotated[Weight, Meta(description="How lately a memory was changed; a month makes half of it.")] = 0.0
    importance: Annotated[Weight, Meta(description="A memory's importance.")] = 0.0
    links: Annotated[Weight, Meta(description="Links with other memories found.")] = 0.0


class MemorySearch(Arguments):
    """Arguments of ``memory_search``."""

    query: Annotated[str, Meta(min_length=1, max_length=4096, description="What to look for, in plain words.")]
    limit: Annotated[int, Meta(ge=1, le=100)] = 10
    mode: Annotated[
        Mode, Meta(description="`auto`: words and meaning; words alone for a quotation or an id that some memory holds whole.")
    ] = "auto"
    workspace: Workspace | None = None
    type: MemoryType | None = None
    tags: Annotated[list[Tag], Meta(max_length=16, description="Only memories with all of these.")] = []
    tier: Tier | None = None
    scope: Annotated[Scope, Meta(description="Only memories of this scope; without an id, of this kind of scope.")] | None = (
        None
    )
    filter: Filter | None = None
    event_after: Annotated[datetime, Meta(tz=True, description="Only what happened at this moment or later.")] | None = None
    event_before: Annotated[datetime, Meta(tz=True, description="Only what happened before this moment.")] | None = None
    created_after: Annotated[datetime, Meta(tz=True, description="Only what was stored at this moment or later.")] | None = None
    created_before: Annotated[datetime, Meta(tz=True, description="Only what was stored before this moment.")] | None = None
    min_score: Annotated[float, Meta(ge=0, le=1, description="Leave out hits below this score.")] = 0.0
    signals: Signals = Signals()
    compact: Annotated[bool, Meta(description="Hits with an id and a short excerpt in place of the memory.")] = False
    explain: Annotated[bool, Meta(description="Say how each score came about.")] = False


class Explanation(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The parts of a score. A part that played no role is left out."""

    bm25: float | None = None
    """FTS5's bm25 with its sign turned: higher is better."""
    coverage: float | None = None
    """Share of the query's information (idf) that the memory's words cover, 0 to 1."""
    lent: float | None = None
    """Share of it that the turns around it or its date cover, 0 to 1."""
    keyword: float | None = None
    """What bm25 and both shares contributed, 0 to 1."""
    cosine: float | None = None
    """Cosine of the query's vector and the best passage's, −1 to 1."""
    semantic: float | None = None
    """What the cosine, and that of the question that this turn answers, contributed, 0 to 1."""
    session: float | None = None
    """What the best turn of its session contributed, 0 to 1."""
    links: float | None = None
    """What a linked memory contributed, 0 to 1."""
    factors: dict[str, float] = {}
    """What the evidence was multiplied by, by name: `question`, `brevity`, `time`, `recency`, `importance`."""
    passage: tuple[int, int] | None = None
    """Where in the content the best passage starts and ends, in characters."""


class Hit(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One memory found. ``score`` is in (0, 1], higher is better.

    A compact hit has ``id``, ``type``, ``tags`` and ``excerpt`` in place of ``memory``.
    """

    memory: Memory | None = None
    score: float
    id: int | None = None
    type: str | None = None
    tags: list[str] = []
    excerpt: str | None = None
    """The stretch of the content that fits best, at most 160 characters."""
    highlights: list[str] = []
    """Stretches of the content around the words found, which are set between ** and **."""
    passage: tuple[int, int] | None = None
    """Which part of a long memory fits best: where it starts and ends, in characters. Left out when it is all of it."""
    explain: Explanation | None = None


class SearchResult(msgspec.Struct, omit_defaults=True):
    """Hits, best first; ``mode`` says what was really done."""

    results: list[Hit]
    mode: str
    took_ms: float
    corrected: dict[str, list[str]] = {}
    """Words of the query that no memory holds, with those that were looked for in their place."""


def _query(arguments: MemorySearch) -> list[str]:
    return [] if arguments.mode == "keyword" else [arguments.query]


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
    profile="essential",
    embeds=Embeds(texts=_query, purpose="query"),
    aliases=MappingProxyType({"strategy": "mode", "memory_type": "type"}),
)
