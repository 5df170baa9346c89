"""Searching in two steps: short hits, then whole memories."""

from __future__ import annotations

from engine.catalogue.expand import EXPAND, SEARCH_COMPACT, CompactSearch, Expanded, MemoryExpand
from engine.catalogue.search import MemorySearch, SearchResult
from engine.protocol import Request
from engine.store import memories
from engine.store.database import Database
from engine.tools.handler import Handler
from engine.tools.search import search


def search_compact(database: Database, arguments: CompactSearch, request: Request) -> SearchResult:
    """Search, and return ids and excerpts."""
    given = {name: getattr(arguments, name) for name in arguments.__struct_fields__}
    return search(database, MemorySearch(compact=True, **given), request)


def expand(database: Database, arguments: MemoryExpand, request: Request) -> Expanded:
    """Read memories by their ids and count the accesses."""
    ids = list(dict.fromkeys(arguments.ids))
    found = memories.get_many(database.connection, ids, database.now())
    for memory_id in found:
        database.note_access(memory_id)
    return Expanded(memories=list(found.values()), missing=[memory_id for memory_id in ids if memory_id not in found])


HANDLERS: dict[str, Handler] = {SEARCH_COMPACT.name: search_compact, EXPAND.name: expand}
