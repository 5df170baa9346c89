"""The export file: Engram's ``version: "1.0"`` with our own additions beside its fields.

Unknown fields are ignored, as Engram's own importer does. What is optional here its files do not have.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from engine.catalogue.links import EdgeType, Source, SourceContext
from engine.catalogue.memory import (
    ID_MAX,
    ChangeSummary,
    Content,
    DurationSeconds,
    EventTime,
    Importance,
    MemoryType,
    Metadata,
    Tags,
    Tier,
    Workspace,
)

EXPORT_VERSION = "1.0"

FileId = Annotated[int, Meta(ge=1, le=2**63 - 1)]
"""An id as a file has it: Engram's ids may have 64 bits."""

Name = Annotated[str, Meta(max_length=256)]
ScopeType = Literal["global", "user", "session", "agent"]
ScopeId = Annotated[str, Meta(min_length=1, max_length=256)]
Spelling = MemoryType | Literal["transcriptchunk"]
"""Engram's own JSON spells this one type without its underscore."""

FileFormat = Literal["json", "jsonl", "markdown"]
"""What can be taken back in."""


class EntryExtras(msgspec.Struct, omit_defaults=True, kw_only=True, frozen=True):
    """What we know of a memory and Engram's format has no place for. All of it is optional on import."""

    version: Annotated[int, Meta(ge=1, le=ID_MAX)] = 1
    accessed_at: EventTime | None = None
    access_count: Annotated[int, Meta(ge=0, le=ID_MAX)] = 0
    expires_at: EventTime | None = None
    event_time: EventTime | None = None
    event_duration_seconds: DurationSeconds | None = None
    changed_by: Name | None = None
    change_summary: ChangeSummary | None = None


class Entry(msgspec.Struct, kw_only=True):
    """One memory, as Engram writes it."""

    id: FileId
    content: Content
    memory_type: Spelling
    tags: Tags = []
    metadata: Metadata = {}
    importance: Importance = 0.5
    workspace: Workspace = "default"
    scope_type: ScopeType = "global"
    scope_id: ScopeId | None = None
    tier: Tier = "permanent"
    created_at: EventTime
    updated_at: EventTime | UnsetType = UNSET
    engram_cloud: EntryExtras = EntryExtras()


class VersionEntry(msgspec.Struct, kw_only=True):
    """What one memory of the file was before a change."""

    memory_id: FileId
    version: Annotated[int, Meta(ge=1, le=ID_MAX)]
    content: Content
    memory_type: Spelling
    tags: Tags = []
    metadata: Metadata = {}
    importance: Importance = 0.5
    workspace: Workspace = "default"
    scope_type: ScopeType = "global"
    scope_id: ScopeId | None = None
    tier: Tier = "permanent"
    expires_at: EventTime | None = None
    event_time: EventTime | None = None
    event_duration_seconds: DurationSeconds | None = None
    updated_at: EventTime
    changed_by: Name | None = None
    change_summary: ChangeSummary | None = None


class LinkEntry(msgspec.Struct, kw_only=True):
    """A link between two memories of the file. ``confidence`` is as of ``reinforced_at``."""

    from_id: FileId
    to_id: FileId
    edge_type: EdgeType = "related_to"
    strength: Annotated[float, Meta(ge=0, le=1)] = 1.0
    confidence: Annotated[float, Meta(ge=0, le=1)] = 1.0
    pinned: bool = False
    source: Source = "manual"
    source_context: SourceContext | None = None
    valid_from: EventTime | None = None
    valid_to: EventTime | None = None
    created_at: EventTime
    reinforced_at: EventTime | UnsetType = UNSET
