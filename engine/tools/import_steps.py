"""The steps of an import: entries are staged unseen, revealed at once, and cleared up after."""

from __future__ import annotations

import time

from engine.catalogue.export_file import Entry, VersionEntry
from engine.catalogue.memory import ID_MAX, Scope
from engine.catalogue.transfer import (
    ChangedIds,
    ImportBegin,
    ImportCommitted,
    ImportIdMap,
    ImportLinks,
    ImportNamed,
    ImportSettled,
    ImportStage,
    ImportStaged,
    ImportVersions,
)
from engine.protocol import ErrorCode, Limits, RemoteError, Request
from engine.protocol.errors import invalid
from engine.store import imports, memories, staged_history, staging
from engine.store.database import Database
from engine.tools.bounds import check_content, check_scope, encode_metadata, within


def begin(database: Database, arguments: ImportBegin, request: Request) -> ImportStaged:
    """Open an import."""
    return ImportStaged(import_id=imports.begin(database.connection, database.now()))


def stage(database: Database, arguments: ImportStage, request: Request) -> ImportStaged:
    """Check entries and put them where nobody sees them yet, as many as there is time for.

    What has come already is passed over. The first bad one is named, and nothing of the batch is kept.
    """
    connection, now = database.connection, database.now()
    give_up_at = time.monotonic() + arguments.budget_ms / 1000
    imports.check_open(connection, arguments.import_id, now)
    following = imports.next_position(connection, arguments.import_id)
    if arguments.first > following:
        raise invalid("first", f"entries from {following} on are missing")
    imported = skipped = 0
    for position, entry in enumerate(arguments.entries, arguments.first):
        if position < following:
            continue
        _check_entry(entry, position)
        outcome = staging.stage(connection, arguments.import_id, position, entry, now=now, by=request.caller.key_id)
        imported += outcome in ("new", "trash")
        skipped += outcome in ("known", "expired")
        following = position + 1
        if time.monotonic() >= give_up_at:
            break
    so_far = imports.touch(connection, arguments.import_id, now, imported=imported, skipped=skipped)
    _check_room(database, request.caller.limits, so_far)
    return ImportStaged(import_id=arguments.import_id, next=following)


def stage_versions(database: Database, arguments: ImportVersions, request: Request) -> ImportStaged:
    """Store past versions of the import's memories. Sent again, they change nothing."""
    imports.check_open(database.connection, arguments.import_id, database.now())
    for position, entry in enumerate(arguments.versions, arguments.first):
        with within(f"engram_cloud.versions[{position}]"):
            _check_text(entry)
            staged_history.stage_version(database.connection, arguments.import_id, entry)
    imports.touch(database.connection, arguments.import_id, database.now())
    database.check_limits(request.caller.limits)
    return ImportStaged(import_id=arguments.import_id, next=arguments.first + len(arguments.versions))


def stage_links(database: Database, arguments: ImportLinks, request: Request) -> ImportStaged:
    """Store links between the import's memories. Sent again, they change nothing."""
    imports.check_open(database.connection, arguments.import_id, database.now())
    for position, entry in enumerate(arguments.links, arguments.first):
        with within(f"engram_cloud.links[{position}]"):
            staged_history.stage_link(database.connection, arguments.import_id, entry)
    imports.touch(database.connection, arguments.import_id, database.now())
    database.check_limits(request.caller.limits)
    return ImportStaged(import_id=arguments.import_id, next=arguments.first + len(arguments.links))


def commit(database: Database, arguments: ImportNamed, request: Request) -> ImportCommitted:
    """Let everybody see what was staged, all of it or none."""
    imported, skipped = imports.reveal(database.connection, arguments.import_id, database.now())
    database.check_limits(request.caller.limits, added=imported)
    return ImportCommitted(imported=imported, skipped=skipped)


def settle(database: Database, arguments: ImportNamed, request: Request) -> ImportSettled:
    """Carry out a piece of what is left to do after a commit, or after the end of an import that was given up."""
    return ImportSettled(done=imports.settle(database.connection, arguments.import_id))


def id_map(database: Database, arguments: ImportIdMap, request: Request) -> ChangedIds:
    """Return some of the ids that could not be kept."""
    found = imports.changed_ids(database.connection, arguments.import_id, after=arguments.after, limit=arguments.limit)
    return ChangedIds(ids=found)


def end(database: Database, arguments: ImportNamed, request: Request) -> ImportSettled:
    """Give an import up, or let go of the records of one whose answer has been read."""
    imports.end(database.connection, arguments.import_id, database.now())
    return ImportSettled(done=False)


def _check_room(database: Database, limits: Limits, imported: int) -> None:
    """``quota_exceeded`` for more than the plan would hold if it were empty; the commit looks exactly."""
    if limits.memories is not None and imported > limits.memories:
        current = memories.count(database.connection, database.now())
        message = f"the plan's limit of {limits.memories} for memories is reached"
        raise RemoteError(ErrorCode.QUOTA_EXCEEDED, message, metric="memories", current=current, limit=limits.memories)
    database.check_limits(limits)


def _check_entry(entry: Entry, position: int) -> None:
    try:
        with within(f"memories[{position}]"):
            _check_text(entry)
    except RemoteError as error:
        error.details |= {"entry": position, "id": entry.id if entry.id <= ID_MAX else str(entry.id)}
        raise


def _check_text(entry: Entry | VersionEntry) -> None:
    check_content(entry.content)
    encode_metadata(entry.metadata)
    check_scope(Scope(entry.scope_type, entry.scope_id))
