"""Export and import of a whole database."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, get_args

import msgspec

from engine.catalogue.memory import ID_MAX, MemoryType, Scope, Tier
from engine.catalogue.transfer import (
    EXPORT,
    EXPORT_VERSION,
    IMPORT_ABANDON,
    IMPORT_BEGIN,
    IMPORT_COMMIT,
    IMPORT_STAGE,
    Entry,
    ImportBegin,
    ImportCommit,
    Imported,
    ImportStage,
    ImportStaged,
    MemoryExport,
)
from engine.protocol import RemoteError, Request
from engine.protocol.errors import invalid
from engine.protocol.moment import to_text
from engine.store import imports, memories
from engine.store.database import Database
from engine.store.selection import VISIBLE
from engine.tools.bounds import check_content, check_scope, encode_metadata
from engine.tools.handler import Handler

_CHUNK_BYTES = 256 * 1024
_TYPES = frozenset(get_args(MemoryType)) | {"transcriptchunk"}
_TIERS = frozenset(get_args(Tier))


def export(database: Database, arguments: MemoryExport, request: Request) -> Generator[bytes]:
    """Yield the export file in pieces, all of one moment, however long the reader takes."""
    now = database.now()
    with database.snapshot() as connection:
        count = connection.execute(
            f"SELECT count(*) FROM memories AS m WHERE {VISIBLE}",  # noqa: S608
            (now,),
        ).get
        head = {"version": EXPORT_VERSION, "exported_at": _moment(now), "memory_count": count}
        piece = bytearray(msgspec.json.encode(head)[:-1] + b',"memories":[')
        separator = b""
        for row in memories.everything(connection, now):
            piece += separator + msgspec.json.encode(_entry(row))
            separator = b","
            if len(piece) >= _CHUNK_BYTES:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece) + b"]}"


def begin(database: Database, arguments: ImportBegin, request: Request) -> ImportStaged:
    """Open an import."""
    return ImportStaged(import_id=imports.begin(database.connection, database.now()))


def stage(database: Database, arguments: ImportStage, request: Request) -> ImportStaged:
    """Check entries and keep them unseen. The first bad one is named and nothing of the batch is kept."""
    for position, entry in enumerate(arguments.entries, arguments.first):
        _check(entry, position)
    database.check_limits(request.caller.limits)
    staged = imports.stage(database.connection, arguments.import_id, arguments.first, arguments.entries)
    return ImportStaged(import_id=arguments.import_id, entries=staged)


def commit(database: Database, arguments: ImportCommit, request: Request) -> Imported:
    """Turn the staged entries into memories, all of them or none."""
    outcome = imports.commit(database.connection, arguments.import_id, database.now())
    database.check_limits(request.caller.limits, added=outcome.imported)
    return outcome


def abandon(database: Database, arguments: ImportCommit, request: Request) -> ImportStaged:
    """Forget a staged import."""
    imports.abandon(database.connection, arguments.import_id)
    return ImportStaged(import_id=arguments.import_id)


def _check(entry: Entry, position: int) -> None:
    field = f"memories[{position}]"
    try:
        check_content(entry.content, f"{field}.content")
        encode_metadata(entry.metadata, f"{field}.metadata")
        if entry.memory_type not in _TYPES:
            raise invalid(f"{field}.memory_type", f"unknown type {entry.memory_type[:64]!r}")
        if entry.tier not in _TIERS:
            raise invalid(f"{field}.tier", f"unknown tier {entry.tier[:64]!r}")
        try:
            scope = msgspec.convert({"type": entry.scope_type, "id": entry.scope_id}, Scope)
        except msgspec.ValidationError as error:
            raise invalid(f"{field}.scope_type", str(error)) from error
        check_scope(scope, f"{field}.scope")
    except RemoteError as error:
        error.details |= {"entry": position, "id": entry.id if entry.id <= ID_MAX else str(entry.id)}
        raise


def _entry(row: tuple[Any, ...]) -> dict[str, Any]:
    memory = memories.from_row(row)
    extras = {
        "version": memory.version,
        "accessed_at": memory.accessed_at,
        "access_count": memory.access_count,
        "expires_at": memory.expires_at,
        "event_time": memory.event_time,
        "content_hash": memory.content_hash,
    }
    return {
        "id": memory.id,
        "content": memory.content,
        # Engram's own JSON spells this one type without its underscore.
        "memory_type": "transcriptchunk" if memory.type == "transcript_chunk" else memory.type,
        "tags": memory.tags,
        "metadata": memory.metadata,
        "importance": memory.importance,
        "workspace": memory.workspace,
        "scope_type": memory.scope.type,
        "scope_id": memory.scope.id,
        "tier": memory.tier,
        "created_at": _moment(row[11]),
        "updated_at": _moment(row[12]),
        "engram_cloud": extras,
    }


def _moment(microseconds: int) -> str:
    """Return the time with the numeric offset that Engram writes."""
    return to_text(microseconds)[:-1] + "+00:00"


HANDLERS: dict[str, Handler] = {
    EXPORT.name: export,
    IMPORT_BEGIN.name: begin,
    IMPORT_STAGE.name: stage,
    IMPORT_COMMIT.name: commit,
    IMPORT_ABANDON.name: abandon,
}
