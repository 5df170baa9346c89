"""Versions of a memory, and the ways back to them."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from engine.catalogue.history import (
    EMPTY_TRASH,
    GET_VERSION,
    RESTORE,
    REVERT,
    VERSIONS,
    EmptyTrash,
    MemoryGetVersion,
    MemoryRestore,
    MemoryRevert,
    MemoryVersions,
    TrashEmptied,
    Version,
    Versions,
)
from engine.catalogue.memory import ID_MAX, Memory, Scope
from engine.protocol import ErrorCode, RemoteError, Request
from engine.protocol.moment import to_text
from engine.store import memories, passages, versions
from engine.store.database import Database
from engine.tools.handler import Handler
from engine.tools.memory import check_version, purge

_REVERTED = ("content", "content_hash", "type", "tags", "metadata", "importance", "event_time", "event_duration_seconds")
"""What a memory says. Where it belongs and how long it lives stay as they are now."""

_ERASING_S = 0.1
"""No memory is begun to be erased after this: a long one takes 50 ms and more, and everybody else waits."""


def list_versions(database: Database, arguments: MemoryVersions, request: Request) -> Versions:
    """Return one page of versions."""
    memories.get(database.connection, arguments.id, database.now())
    before = ID_MAX if arguments.before is None else arguments.before
    found = versions.page(database.connection, arguments.id, before=before, limit=arguments.limit + 1)
    page = found[: arguments.limit]
    more = len(found) > arguments.limit
    return Versions(
        id=arguments.id, versions=[_version(row) for row in page], next_before=page[-1]["version"] if more else None
    )


def get_version(database: Database, arguments: MemoryGetVersion, request: Request) -> Version:
    """Return one version."""
    memories.get(database.connection, arguments.id, database.now())
    return _version(_find(database, arguments.id, arguments.version))


def revert(database: Database, arguments: MemoryRevert, request: Request) -> Memory:
    """Make what an earlier version said the newest version."""
    connection, now = database.connection, database.now()
    before = memories.get(connection, arguments.id, now)
    check_version(before, arguments.if_version)
    row = _find(database, arguments.id, arguments.version)
    if arguments.version == before.version:
        return before
    why = arguments.change_summary or f"Reverted to version {arguments.version}"
    values = {name: row[name] for name in _REVERTED}
    memories.change(connection, arguments.id, values, now=now, by=request.caller.key_id, why=why)
    if row["content"] != before.content:
        passages.remove(connection, arguments.id)
    database.check_limits(request.caller.limits)
    return memories.get(connection, arguments.id, now)


def restore(database: Database, arguments: MemoryRestore, request: Request) -> Memory:
    """Take a memory out of the trash; its meaning is found again as soon as it has been embedded."""
    memories.restore(database.connection, arguments.id, database.now())
    return memories.get(database.connection, arguments.id, database.now())


def empty_trash(database: Database, arguments: EmptyTrash, request: Request) -> TrashEmptied:
    """Erase what has been in the trash the longest: as much as there is time for, but one memory at least."""
    give_up_at = time.monotonic() + _ERASING_S
    erased = 0
    for memory_id in memories.trashed(database.connection, database.now(), arguments.limit):
        purge(database, [memory_id])
        erased += 1
        if time.monotonic() >= give_up_at:
            break
    return TrashEmptied(erased=erased, remaining=memories.trashed_count(database.connection, database.now()))


def _find(database: Database, memory_id: int, version: int) -> versions.Row:
    row = versions.get(database.connection, memory_id, version)
    if row is None:
        raise RemoteError(ErrorCode.NOT_FOUND, "version: the memory has no such version", field="version")
    return row


def _version(row: dict[str, Any]) -> Version:
    return Version(
        version=row["version"],
        content=row["content"],
        type=row["type"],
        tags=msgspec.json.decode(row["tags"]),
        metadata=msgspec.json.decode(row["metadata"]),
        importance=row["importance"],
        workspace=row["workspace"],
        scope=Scope(row["scope_type"], row["scope_id"]),
        tier=row["tier"],
        expires_at=_moment(row["expires_at"]),
        event_time=_moment(row["event_time"]),
        event_duration_seconds=row["event_duration_seconds"],
        content_hash=row["content_hash"],
        updated_at=to_text(row["updated_at"]),
        changed_by=row["changed_by"] or None,
        change_summary=row["change_summary"],
    )


def _moment(microseconds: int | None) -> str | None:
    return None if microseconds is None else to_text(microseconds)


HANDLERS: dict[str, Handler] = {
    VERSIONS.name: list_versions,
    GET_VERSION.name: get_version,
    REVERT.name: revert,
    RESTORE.name: restore,
    EMPTY_TRASH.name: empty_trash,
}
