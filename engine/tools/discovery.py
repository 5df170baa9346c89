"""Finding tools in the catalogue."""

from __future__ import annotations

from typing import Any

from engine.catalogue import TOOLS
from engine.catalogue.discovery import DISCOVER, DiscoverTools, ToolFound, ToolsFound
from engine.catalogue.operation import PROFILES, Tool
from engine.catalogue.schema import object_schema
from engine.protocol import Request
from engine.protocol.errors import invalid
from engine.store.database import Database
from engine.tools.handler import Handler


def discover(database: Database, arguments: DiscoverTools, request: Request) -> ToolsFound:
    """Return the tools that the caller may call and that fit. Without search words: all of the category."""
    categories = sorted({tool.category for tool in TOOLS.values()})
    if arguments.category is not None and arguments.category not in categories:
        raise invalid("category", f"must be one of {', '.join(categories)}")
    words = arguments.search.lower().replace("_", " ").split()
    shown = PROFILES[: PROFILES.index(arguments.profile) + 1]
    found = [
        tool
        for tool in TOOLS.values()
        if tool.scope in request.caller.scopes
        and tool.profile in shown
        and arguments.category in (None, tool.category)
        and (not words or _hits(tool, words))
    ]
    found.sort(key=lambda tool: -_hits(tool, words))  # stable: the catalogue's order among equals
    return ToolsFound([_describe(tool) for tool in found], categories)


def _hits(tool: Tool[Any, Any], words: list[str]) -> int:
    text = f"{tool.name} {tool.title} {tool.description} {tool.category}".lower()
    return sum(word in text for word in words)


def _describe(tool: Tool[Any, Any]) -> ToolFound:
    return ToolFound(
        name=tool.name,
        category=tool.category,
        description=tool.description,
        input_schema=object_schema(tool.arguments),
    )


HANDLERS: dict[str, Handler] = {DISCOVER.name: discover}
