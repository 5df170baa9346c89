"""Context: the memories worth a model's attention for a question, fitted into a budget of tokens."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.catalogue.memory import Tag, Workspace
from engine.catalogue.operation import Arguments, Embeds, Tool
from engine.catalogue.timeframe import Timeframe

BUDGET_TOKENS_MAX = 100_000
"""More than half of what most models take in."""

LEFT_OUT_SHOWN_MAX = 10
"""What did not fit must not take more room than what did."""

TokenBudget = Annotated[int, Meta(ge=64, le=BUDGET_TOKENS_MAX, description="How many tokens it may take, roughly counted.")]
Strategy = Literal["balanced", "greedy", "recency"]
Reason = Literal["match", "linked", "recent", "important"]


class ContextQuery(Arguments, kw_only=True):
    """What both tools ask for."""

    query: Annotated[str, Meta(min_length=1, max_length=4096, description="The question or task at hand, in plain words.")]
    strategy: Annotated[
        Strategy,
        Meta(
            description="`greedy`: matches only, while they last. `balanced`: room for others too. `recency`: the latest first."
        ),
    ] = "balanced"
    timeframe: Timeframe | None = None
    include_graph: Annotated[bool, Meta(description="Also what is linked with the matches.")] = True
    workspace: Workspace | None = None
    tags: Annotated[list[Tag], Meta(max_length=16, description="Only memories with all of these.")] = []
    min_score: Annotated[float, Meta(ge=0, le=1, description="Leave out weaker matches.")] = 0.1


class BuildContext(ContextQuery, kw_only=True):
    """Arguments of ``memory_build_context``."""

    total_budget: TokenBudget = 2000


class InjectionPrompt(ContextQuery, kw_only=True):
    """Arguments of ``memory_get_injection_prompt``."""

    token_budget: TokenBudget = 1000


class ContextPiece(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One memory in the context, and why it is there."""

    id: int
    text: str
    """The content, or an excerpt with … where something is left out."""
    whole: bool
    tokens: int
    """What it takes when it is quoted under a line with its id, date, type and workspace."""
    reason: Reason
    score: float | None = None
    """Of a match."""
    linked_to: int | None = None
    """The match that it is linked with, and how."""
    edge_type: str | None = None
    type: str
    workspace: str
    date: str
    """When it happened, or was stored."""


class LeftOut(msgspec.Struct, kw_only=True):
    """A memory for which there was no room, or whose text is there already."""

    id: int
    reason: Reason
    why: Literal["no_room", "same_text"]


class Context(msgspec.Struct, kw_only=True):
    """The pieces in the order in which they should be read. ``tokens`` is at most ``budget``."""

    pieces: list[ContextPiece]
    tokens: int
    budget: int
    left_out: list[LeftOut]
    """The first ten of them."""
    left_out_total: int
    mode: str
    """How the matches were searched."""


class Prompt(msgspec.Struct, kw_only=True):
    """A text to put into a prompt; empty when nothing is known. ``memories`` are the ids of what is in it."""

    prompt: str
    tokens: int
    budget: int
    memories: list[int]


def _query(arguments: ContextQuery) -> list[str]:
    return [arguments.query]


BUILD = Tool(
    name="memory_build_context",
    title="Build a context",
    description=(
        "Get the memories that matter for a task, within a token budget: matches, what is linked with them, recent and"
        " important ones, each with the reason why."
    ),
    arguments=BuildContext,
    result=Context,
    kind="read",
    profile="essential",
    category="context",
    embeds=Embeds(texts=_query, purpose="query"),
    aliases=MappingProxyType({"token_budget": "total_budget", "max_tokens": "total_budget"}),
)
PROMPT = Tool(
    name="memory_get_injection_prompt",
    title="Context as one text",
    description="Get the memories that matter for a task as one block of quoted text within a token budget.",
    arguments=InjectionPrompt,
    result=Prompt,
    kind="read",
    category="context",
    profile="full",
    embeds=Embeds(texts=_query, purpose="query"),
    aliases=MappingProxyType({"total_budget": "token_budget", "max_tokens": "token_budget"}),
)
