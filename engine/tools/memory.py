"""Creating, reading, changing, deleting and listing memories."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from engine.catalogue.memory import (
    CREATE,
    DELETE,
    GET,
    LIST,
    TTL_SECONDS_DEFAULT,
    UPDATE,
    Deleted,
    Memory,
    MemoryCreate,
    MemoryDelete,
    MemoryGet,
    MemoryList,
    MemoryPage,
    MemoryUpdate,
)
from engine.protocol import Request
from engine.protocol.errors import invalid
from engine.protocol.moment import from_datetime
from engine.store import memories, passages
from engine.store.database import Database
from engine.store.selection import Selection
from engine.tools.bounds import check_content, check_scope, encode_metadata
from engine.tools.handler import Handler


def create(database: Database, arguments: MemoryCreate, request: Request) -> Memory:
    """Store a memory, with its vectors when the request brought them and pending otherwise."""
    check_content(arguments.content)
    check_scope(arguments.scope)
    now = database.now()
    values = {
        "content": arguments.content,
        "content_hash": memories.content_hash(arguments.content),
        "type": arguments.type,
        "tags": _encode_tags(arguments.tags),
        "metadata": encode_metadata(arguments.metadata),
        "importance": arguments.importance,
        "workspace": arguments.workspace,
        "scope_type": arguments.scope.type,
        "scope_id": arguments.scope.id,
        "tier": arguments.tier,
        "version": 1,
        "created_at": now,
        "updated_at": now,
        "expires_at": _expiry(arguments.tier, arguments.ttl_seconds, now),
        "event_time": None if arguments.event_time is None else from_datetime(arguments.event_time),
    }
    memory_id = memories.insert(database.connection, values)
    if request.embeddings:
        passages.replace(database.connection, memory_id, request.embeddings[0])
    database.check_limits(request.caller.limits, added=1)
    return memories.get(database.connection, memory_id, now)


def get(database: Database, arguments: MemoryGet, request: Request) -> Memory:
    """Read one memory and count the access."""
    memory = memories.get(database.connection, arguments.id, database.now())
    database.note_access(memory.id)
    return memory


def update(database: Database, arguments: MemoryUpdate, request: Request) -> Memory:
    """Change what was given and leave the rest."""
    now = database.now()
    before = memories.get(database.connection, arguments.id, now)
    values = _changed_columns(arguments, before, now)
    if not values:
        return before
    memories.update(database.connection, arguments.id, values | {"updated_at": now})
    if "content" in values:
        passages.remove(database.connection, arguments.id)
        if request.embeddings:
            passages.replace(database.connection, arguments.id, request.embeddings[0])
    if len(values.get("content", "")) > len(before.content) or "metadata" in values or "tags" in values:
        database.check_limits(request.caller.limits)
    return memories.get(database.connection, arguments.id, now)


def delete(database: Database, arguments: MemoryDelete, request: Request) -> Deleted:
    """Hide one memory."""
    memories.soft_delete(database.connection, arguments.id, database.now())
    passages.remove(database.connection, arguments.id)  # most of a memory's bytes, and nothing will look for it
    return Deleted(id=arguments.id)


def list_page(database: Database, arguments: MemoryList, request: Request) -> MemoryPage:
    """Return one page, newest first."""
    selection = Selection(workspace=arguments.workspace, type=arguments.type, tags=arguments.tags, tier=arguments.tier)
    found, cursor = memories.page(
        database.connection, selection, limit=arguments.limit, cursor=arguments.cursor, now=database.now()
    )
    return MemoryPage(memories=found, next_cursor=cursor)


def _changed_columns(arguments: MemoryUpdate, before: Memory, now: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if arguments.content is not UNSET and arguments.content != before.content:
        check_content(arguments.content)
        values["content"] = arguments.content
        values["content_hash"] = memories.content_hash(arguments.content)
    if arguments.tags is not UNSET:
        values["tags"] = _encode_tags(arguments.tags)
    if arguments.metadata is not UNSET:
        values["metadata"] = encode_metadata(arguments.metadata)
    if arguments.scope is not UNSET:
        check_scope(arguments.scope)
        values |= {"scope_type": arguments.scope.type, "scope_id": arguments.scope.id}
    if arguments.event_time is not UNSET:
        values["event_time"] = None if arguments.event_time is None else from_datetime(arguments.event_time)
    for name in ("type", "importance", "workspace"):
        value = getattr(arguments, name)
        if value is not UNSET:
            values[name] = value
    return values | _changed_life(arguments, before, now)


def _changed_life(arguments: MemoryUpdate, before: Memory, now: int) -> dict[str, Any]:
    """Return the columns of tier and expiry: a permanent memory never expires, a daily one always does."""
    if arguments.tier is UNSET and arguments.ttl_seconds is UNSET:
        return {}
    ttl = None if arguments.ttl_seconds is UNSET else arguments.ttl_seconds
    tier = before.tier if arguments.tier is UNSET else arguments.tier
    if arguments.tier is UNSET and ttl is not None:
        tier = "daily" if ttl else "permanent"
    if tier == before.tier and ttl is None:
        return {}  # said again what it is: its time to live goes on
    return {"tier": tier, "expires_at": _expiry(tier, ttl, now)}


def _expiry(tier: str, ttl_seconds: int | None, now: int) -> int | None:
    if tier == "permanent":
        if ttl_seconds:
            raise invalid("ttl_seconds", "a permanent memory does not expire; use tier daily")
        return None
    if ttl_seconds == 0:
        raise invalid("ttl_seconds", "a daily memory must live for at least a second")
    return now + (ttl_seconds or TTL_SECONDS_DEFAULT) * 1_000_000


def _encode_tags(tags: list[str]) -> str:
    return msgspec.json.encode(list(dict.fromkeys(tags))).decode()


HANDLERS: dict[str, Handler] = {
    CREATE.name: create,
    GET.name: get,
    UPDATE.name: update,
    DELETE.name: delete,
    LIST.name: list_page,
}
