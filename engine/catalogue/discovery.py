"""The tools that a connection does not list: found by what they do, called like any other."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from engine.catalogue.operation import Arguments, Profile, Tool


class DiscoverTools(Arguments):
    """Arguments of ``discover_tools``."""

    search: Annotated[str, Meta(max_length=200, description="Words of a tool's name or description; one suffices.")] = ""
    category: Annotated[str, Meta(max_length=64, description="Only tools of this category.")] | None = None
    profile: Annotated[Profile, Meta(description="`full` has them all.")] = "full"


class ToolFound(msgspec.Struct, kw_only=True):
    """A tool, and how to call it."""

    name: str
    category: str
    description: str
    input_schema: dict[str, Any]


class ToolsFound(msgspec.Struct):
    """The tools found, and every category there is."""

    tools: list[ToolFound]
    categories: list[str]


DISCOVER = Tool(
    name="discover_tools",
    title="Discover tools",
    description=(
        "Find further tools by what they do: history, links, batches, workspaces, export. Call what you find by its name."
    ),
    arguments=DiscoverTools,
    result=ToolsFound,
    kind="read",
    category="discovery",
    profile="essential",
    aliases=MappingProxyType({"tier": "profile", "query": "search"}),
)
