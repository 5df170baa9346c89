"""The end of a session, and points on its way, stored as memories of that session."""

from __future__ import annotations

from engine.catalogue.memory import Memory, MemoryCreate, Scope
from engine.catalogue.session import CHECKPOINT, LAND, MemoryCheckpoint, SessionLand, landing_text
from engine.protocol import Request
from engine.protocol.errors import invalid
from engine.store.database import Database
from engine.tools import memory
from engine.tools.bounds import check_content, encode_metadata
from engine.tools.handler import Handler


def land(database: Database, arguments: SessionLand, request: Request) -> Memory:
    """Store how a session ended."""
    text = landing_text(arguments)
    if not text:
        raise invalid("summary", "say something here or in next_session_hints")
    check_content(text, "summary")
    wanted = MemoryCreate(
        content=text,
        type="summary",
        tags=arguments.tags,
        importance=arguments.importance,
        workspace=arguments.workspace,
        scope=Scope("session", arguments.session_id),
    )
    return memory.create(database, wanted, request)


def checkpoint(database: Database, arguments: MemoryCheckpoint, request: Request) -> Memory:
    """Store where a session stands."""
    check_content(arguments.summary, "summary")
    encode_metadata(arguments.context, "context")  # names the argument; the memory's own check would name its metadata
    wanted = MemoryCreate(
        content=arguments.summary,
        type="checkpoint",
        tags=arguments.tags,
        metadata=arguments.context,
        importance=arguments.importance,
        workspace=arguments.workspace,
        scope=Scope("session", arguments.session_id),
    )
    return memory.create(database, wanted, request)


HANDLERS: dict[str, Handler] = {LAND.name: land, CHECKPOINT.name: checkpoint}
