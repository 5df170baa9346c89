"""Which tags there are."""

from __future__ import annotations

from engine.catalogue.tag import TAGS, MemoryTags, TagCounts
from engine.protocol import Request
from engine.store import tags
from engine.store.database import Database
from engine.tools.handler import Handler


def list_tags(database: Database, arguments: MemoryTags, request: Request) -> TagCounts:
    """Count the memories of each tag."""
    found = tags.hierarchy(database.connection, database.now(), workspace=arguments.workspace, prefix=arguments.prefix)
    return TagCounts(tags=found[: arguments.limit], truncated=len(found) > arguments.limit)


HANDLERS: dict[str, Handler] = {TAGS.name: list_tags}
