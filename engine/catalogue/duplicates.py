"""Memories that say the same, or nearly: suggestions, of which nothing is changed."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.catalogue.memory import ID_MAX, Timestamp, Workspace
from engine.catalogue.operation import Arguments, Tool

EXCERPT_CHARACTERS = 160
GROUP_MEMBERS_MAX = 10
"""Memories shown of a group; ``count`` says how many there are."""


class FindDuplicates(Arguments):
    """Arguments of ``memory_find_duplicates``."""

    threshold: Annotated[float, Meta(ge=0.5, le=1, description="How alike in meaning, as a cosine.")] = 0.9
    workspace: Workspace | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    before: Annotated[int, Meta(ge=1, le=ID_MAX, description="Go on: `next_before` of the call before.")] | None = None


class Twin(msgspec.Struct, kw_only=True):
    """One of the memories that are alike."""

    id: int
    excerpt: str
    created_at: Timestamp


class Duplicate(msgspec.Struct, kw_only=True):
    """Memories of one workspace and scope that are alike, the oldest first."""

    reason: Literal["same_text", "similar"]
    """``same_text``: but for case and white space. ``similar``: a passage of one means what a passage of the other does."""
    score: float
    """1 for the same text, else the cosine of the two passages that are most alike."""
    workspace: str
    count: int
    memories: list[Twin]


class Duplicates(msgspec.Struct, kw_only=True):
    """Suggestions, the surest first.

    The same text is looked for everywhere, in the first call. Similar ones are looked for among the ``examined`` passages
    embedded last: each is compared with the 200,000 before it. ``next_before`` goes on with earlier ones; null: none is left.
    """

    duplicates: list[Duplicate]
    examined: int
    next_before: int | None
    truncated: bool
    """Whether there were more than the limit."""


FIND = Tool(
    name="memory_find_duplicates",
    title="Find duplicates",
    description="Suggest memories that say the same or nearly the same, to be merged or deleted. Changes nothing.",
    arguments=FindDuplicates,
    result=Duplicates,
    kind="read",
    category="overview",
    profile="full",
)
