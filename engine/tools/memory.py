"""Creating, reading, changing, deleting and listing memories."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from msgspec import UNSET

from engine.catalogue.memory import (
    CREATE,
    DELETE,
    GET,
    LIST,
    TAGS_MAX,
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
    NewMemory,
)
from engine.protocol import Embedding, ErrorCode, RemoteError, Request
from engine.protocol.errors import invalid
from engine.protocol.moment import from_datetime, to_text
from engine.store import listing, memories, passages
from engine.store.database import Database
from engine.store.housekeeping import TRASH_SECONDS
from engine.store.listing import Order
from engine.store.selection import Selection
from engine.tools.bounds import check_content, check_scope, encode_metadata
from engine.tools.handler import Handler

_PURGED_AT_ONCE = 2
"""Memories between two looks at the clock. Their words are erased for good: 2 ms for a short memory, 400 for one of 64 KiB."""


def create(database: Database, arguments: MemoryCreate, request: Request) -> NewMemory:
    """Store a memory, with its vectors when the request brought them and pending otherwise."""
    created = create_one(database, arguments, request.embeddings[0] if request.embeddings else None, request)
    database.check_limits(request.caller.limits, added=int(created.outcome == "created"))
    return created


def create_one(database: Database, arguments: MemoryCreate, embedding: Embedding | None, request: Request) -> NewMemory:
    """Store one memory, or do as ``dedupe`` says when it is known. The caller checks the limits."""
    check_content(arguments.content)
    check_scope(arguments.scope)
    now = database.now()
    digest = memories.content_hash(arguments.content)
    values = {
        "content": arguments.content,
        "content_hash": digest,
        "type": arguments.type,
        "tags": encode_tags(arguments.tags),
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
        "event_duration_seconds": arguments.event_duration_seconds,
        "changed_by": request.caller.key_id,
    }
    if arguments.dedupe != "allow":
        twin = memories.find_twin(database.connection, digest, arguments.workspace, arguments.scope, now)
        if twin is not None:
            return _settle(database, twin, arguments, request)
    memory_id = memories.insert(database.connection, values)
    if embedding is not None:
        passages.replace(database.connection, memory_id, embedding)
    return new_memory(memories.get(database.connection, memory_id, now))


def _settle(database: Database, twin: int, arguments: MemoryCreate, request: Request) -> NewMemory:
    """Do what ``dedupe`` says about a memory that is there already. Only the same text is taken for the same memory."""
    now = database.now()
    if arguments.dedupe == "reject":
        raise RemoteError(ErrorCode.DUPLICATE, f"memory {twin} says the same", field="content", id=twin)
    known = memories.get(database.connection, twin, now)
    if arguments.dedupe == "skip":
        return new_memory(known, outcome="existing")
    merged = MemoryUpdate(
        id=twin,
        tags=list(dict.fromkeys(known.tags + arguments.tags)),
        metadata=known.metadata | arguments.metadata,
        importance=max(known.importance, arguments.importance),
        event_time=UNSET if known.event_time is not None or arguments.event_time is None else arguments.event_time,
        change_summary="Merged with a memory that says the same",
    )
    if len(cast("list[str]", merged.tags)) > TAGS_MAX:
        raise invalid("tags", f"merged, they would be more than {TAGS_MAX}")
    return new_memory(update_one(database, merged, None, request), outcome="merged")


def get(database: Database, arguments: MemoryGet, request: Request) -> Memory:
    """Read one memory and count the access."""
    memory = memories.get(database.connection, arguments.id, database.now())
    database.note_access(memory.id)
    return memory


def update(database: Database, arguments: MemoryUpdate, request: Request) -> Memory:
    """Change what was given and leave the rest."""
    updated = update_one(database, arguments, request.embeddings[0] if request.embeddings else None, request)
    database.check_limits(request.caller.limits)
    return updated


def update_one(database: Database, arguments: MemoryUpdate, embedding: Embedding | None, request: Request) -> Memory:
    """Make a new version of one memory, unless nothing changes. The caller checks the limits."""
    now = database.now()
    before = memories.get(database.connection, arguments.id, now)
    check_version(before, arguments.if_version)
    values = _changed_columns(arguments, before, now)
    if not values:
        return before
    memories.change(database.connection, arguments.id, values, now=now, by=request.caller.key_id, why=arguments.change_summary)
    if "content" in values:
        passages.remove(database.connection, arguments.id)
        if embedding is not None:
            passages.replace(database.connection, arguments.id, embedding)
    return memories.get(database.connection, arguments.id, now)


def delete(database: Database, arguments: MemoryDelete, request: Request) -> Deleted:
    """Put one memory into the trash, or erase it."""
    now = database.now()
    if arguments.if_version is not None:
        check_version(memories.get(database.connection, arguments.id, now), arguments.if_version)
    if arguments.purge:
        purge(database, [arguments.id])
        gone_at = now + (request.caller.limits.backups_kept_s or 0) * 1_000_000
        return Deleted(id=arguments.id, gone_from_backups_at=to_text(gone_at))
    trash(database, arguments.id, request)
    return Deleted(id=arguments.id, restorable_until=to_text(now + TRASH_SECONDS * 1_000_000))


def trash(database: Database, memory_id: int, request: Request) -> None:
    """Put one memory into the trash."""
    memories.delete(database.connection, memory_id, database.now(), by=request.caller.key_id)
    passages.remove(database.connection, memory_id)  # most of a memory's bytes, and nothing will look for it


def purge(database: Database, ids: list[int]) -> None:
    """Erase memories, wherever the file holds anything of them."""
    for first in range(0, len(ids), _PURGED_AT_ONCE):
        database.check_deadline()
        memories.purge(database.connection, ids[first : first + _PURGED_AT_ONCE], database.now())
    database.note_purge()


def list_page(database: Database, arguments: MemoryList, request: Request) -> MemoryPage:
    """Return one page."""
    if arguments.offset and arguments.cursor is not None:
        raise invalid("offset", "a cursor says already where to go on")
    selection = Selection(
        workspace=arguments.workspace,
        type=arguments.type,
        tags=arguments.tags,
        tier=arguments.tier,
        scope=arguments.scope,
        filter=arguments.filter,
        in_trash=arguments.in_trash,
    )
    found, cursor = listing.page(
        database.connection,
        selection,
        Order(arguments.sort_by, arguments.sort_order == "desc"),
        limit=arguments.limit,
        offset=arguments.offset,
        cursor=arguments.cursor,
        now=database.now(),
    )
    return MemoryPage(memories=found, next_cursor=cursor)


def check_version(memory: Memory, wanted: int | None) -> None:
    """``version_mismatch`` when a change was meant for another version than the present one."""
    if wanted is not None and wanted != memory.version:
        message = f"the memory is at version {memory.version}"
        raise RemoteError(ErrorCode.VERSION_MISMATCH, message, field="if_version", version=memory.version)


def encode_tags(tags: list[str]) -> str:
    """Return the JSON text to store: each tag once, in the order given."""
    return msgspec.json.encode(list(dict.fromkeys(tags))).decode()


def new_memory(memory: Memory, **fields: Any) -> NewMemory:
    """Return a memory as creating one answers it."""
    return NewMemory(**{name: getattr(memory, name) for name in memory.__struct_fields__}, **fields)


def _changed_columns(arguments: MemoryUpdate, before: Memory, now: int) -> dict[str, Any]:
    """Return the columns whose values would differ."""
    values: dict[str, Any] = {}
    if arguments.content is not UNSET and arguments.content != before.content:
        check_content(arguments.content)
        values["content"] = arguments.content
        values["content_hash"] = memories.content_hash(arguments.content)
    if arguments.tags is not UNSET and list(dict.fromkeys(arguments.tags)) != before.tags:
        values["tags"] = encode_tags(arguments.tags)
    if arguments.metadata is not UNSET and (metadata := encode_metadata(arguments.metadata)) != encode_metadata(
        before.metadata
    ):
        values["metadata"] = metadata
    if arguments.scope is not UNSET and arguments.scope != before.scope:
        check_scope(arguments.scope)
        values |= {"scope_type": arguments.scope.type, "scope_id": arguments.scope.id}
    if arguments.event_time is not UNSET:
        moment = None if arguments.event_time is None else from_datetime(arguments.event_time)
        if (None if moment is None else to_text(moment)) != before.event_time:
            values["event_time"] = moment
    if arguments.event_duration_seconds is not UNSET and arguments.event_duration_seconds != (
        None if before.event_duration_seconds is UNSET else before.event_duration_seconds
    ):
        values["event_duration_seconds"] = arguments.event_duration_seconds
    for name in ("type", "importance", "workspace"):
        value = getattr(arguments, name)
        if value is not UNSET and value != getattr(before, name):
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
    if tier == before.tier and (ttl is None or (tier == "permanent" and ttl == 0)):
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


HANDLERS: dict[str, Handler] = {
    CREATE.name: create,
    GET.name: get,
    UPDATE.name: update,
    DELETE.name: delete,
    LIST.name: list_page,
}
