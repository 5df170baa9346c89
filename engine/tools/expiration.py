"""Giving a memory an end, or taking it away."""

from __future__ import annotations

from engine.catalogue.expiration import PROMOTE, SET_EXPIRATION, MemoryPromote, MemorySetExpiration
from engine.catalogue.memory import Memory
from engine.protocol import Request
from engine.protocol.errors import invalid
from engine.protocol.moment import from_datetime
from engine.store import memories
from engine.store.database import Database
from engine.tools.handler import Handler


def set_expiration(database: Database, arguments: MemorySetExpiration, request: Request) -> Memory:
    """Set when a memory expires; 0 seconds make it permanent."""
    if (arguments.ttl_seconds is None) == (arguments.expires_at is None):
        raise invalid("ttl_seconds", "give either ttl_seconds or expires_at")
    now = database.now()
    if arguments.expires_at is not None:
        moment = from_datetime(arguments.expires_at)
        if moment <= now:
            raise invalid("expires_at", "must be in the future")
        return _live_until(database, arguments.id, moment, request)
    seconds = arguments.ttl_seconds or 0
    return _live_until(database, arguments.id, now + seconds * 1_000_000 if seconds else None, request)


def promote(database: Database, arguments: MemoryPromote, request: Request) -> Memory:
    """Let a memory live for good."""
    return _live_until(database, arguments.id, None, request)


def _live_until(database: Database, memory_id: int, moment: int | None, request: Request) -> Memory:
    connection, now = database.connection, database.now()
    before = memories.get(connection, memory_id, now)
    if moment is None and before.tier == "permanent":
        return before
    values = {"tier": "permanent" if moment is None else "daily", "expires_at": moment}
    memories.change(connection, memory_id, values, now=now, by=request.caller.key_id)
    database.check_limits(request.caller.limits)
    return memories.get(connection, memory_id, now)


HANDLERS: dict[str, Handler] = {SET_EXPIRATION.name: set_expiration, PROMOTE.name: promote}
