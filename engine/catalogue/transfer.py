"""Export and import, in Engram's ``version: "1.0"`` JSON with our own additions beside its fields.

The gateway carries bytes; what they mean is decided here and in the engine.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from engine.catalogue.memory import ID_MAX, Content, EventTime, Importance, Metadata, Tags, Workspace
from engine.catalogue.operation import Arguments, Operation

EXPORT_VERSION = "1.0"
IMPORT_BATCH_MAX = 500
"""Entries staged in one transaction: a bulk import must not hold up its neighbours' commits."""


class EntryExtras(msgspec.Struct, omit_defaults=True, kw_only=True, frozen=True):
    """What we know of a memory and Engram's format has no place for. All of it is optional on import."""

    version: Annotated[int, Meta(ge=1, le=ID_MAX)] = 1
    accessed_at: EventTime | None = None
    access_count: Annotated[int, Meta(ge=0, le=ID_MAX)] = 0
    expires_at: EventTime | None = None
    event_time: EventTime | None = None


class Entry(msgspec.Struct, kw_only=True):
    """One memory of an export file, as Engram writes it. Unknown fields are ignored, as its own importer does."""

    id: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    content: Content
    memory_type: str
    tags: Tags = []
    metadata: Metadata = {}
    importance: Importance = 0.5
    workspace: Workspace = "default"
    scope_type: str = "global"
    scope_id: str | None = None
    tier: str = "permanent"
    created_at: EventTime
    updated_at: EventTime | UnsetType = UNSET
    engram_cloud: EntryExtras = EntryExtras()


class MemoryExport(Arguments):
    """Arguments of ``memory_export``."""


class ImportBegin(Arguments):
    """Arguments of ``import_begin``."""


class ImportStaged(msgspec.Struct):
    """A staged import, seen by nobody until it is committed."""

    import_id: int
    entries: int = 0


class ImportStage(Arguments):
    """Arguments of ``import_stage``: entries in the order of the file, ``first`` being the place of the first (from 0)."""

    import_id: int
    first: int
    entries: Annotated[list[Entry], Meta(max_length=IMPORT_BATCH_MAX)]


class ImportCommit(Arguments):
    """Arguments of ``import_commit`` and ``import_abandon``."""

    import_id: int


class Imported(msgspec.Struct):
    """What an import did. ``id_map`` holds the ids that could not be kept: the file's, then ours."""

    imported: int
    skipped: int
    failed: int = 0
    errors: list[str] = []
    id_map: dict[str, int] = {}


EXPORT: Operation[MemoryExport, bytes] = Operation(name="memory_export", arguments=MemoryExport, result=bytes, kind="stream")
IMPORT_BEGIN = Operation(name="import_begin", arguments=ImportBegin, result=ImportStaged, kind="write")
IMPORT_STAGE = Operation(name="import_stage", arguments=ImportStage, result=ImportStaged, kind="write")
IMPORT_COMMIT = Operation(name="import_commit", arguments=ImportCommit, result=Imported, kind="write")
IMPORT_ABANDON = Operation(name="import_abandon", arguments=ImportCommit, result=ImportStaged, kind="write")
