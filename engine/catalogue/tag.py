"""Which tags there are."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from engine.catalogue.memory import Tag, Workspace
from engine.catalogue.operation import Arguments, Tool


class MemoryTags(Arguments):
    """Arguments of ``memory_tags``."""

    prefix: Annotated[Tag, Meta(description="Only this tag and those below it: `a` has `a` and `a/b`.")] | None = None
    workspace: Workspace | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class TagCount(msgspec.Struct):
    """One tag. What is only the beginning of others, ``a`` of ``a/b``, is there as well, with a count of 0."""

    tag: str
    count: int
    """Memories that have this very tag."""
    total: int
    """Memories that have it or one below it; each counts once."""


class TagCounts(msgspec.Struct):
    """Tags, those of most memories first, then by name. ``truncated``: there are more, which a prefix shows."""

    tags: list[TagCount]
    truncated: bool


TAGS = Tool(
    name="memory_tags",
    title="List tags",
    description="List the tags in use and how many memories have them. Look here before inventing a new tag.",
    arguments=MemoryTags,
    result=TagCounts,
    kind="read",
    category="overview",
)
