"""What a memory was, and the way back: versions, revert, restore from the trash."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from engine.catalogue.memory import ID_MAX, ChangeSummary, IfVersion, Memory, MemoryId, Scope, Timestamp
from engine.catalogue.operation import Arguments, Tool

VersionNumber = Annotated[int, Meta(ge=1, le=ID_MAX, description="A version's number.")]


class MemoryVersions(Arguments):
    """Arguments of ``memory_versions``."""

    id: MemoryId
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    before: Annotated[int, Meta(ge=1, le=ID_MAX, description="Only versions older than this one.")] | None = None


class Version(msgspec.Struct, kw_only=True):
    """A memory as it was from ``updated_at`` on, until the next version."""

    version: int
    content: str
    type: str
    tags: list[str]
    metadata: dict[str, Any]
    importance: float
    workspace: str
    scope: Scope
    tier: str
    expires_at: Timestamp | None
    event_time: Timestamp | None
    event_duration_seconds: int | None
    content_hash: str
    updated_at: Timestamp
    changed_by: str | None
    """The key whose request made this version."""
    change_summary: str | None


class Versions(msgspec.Struct):
    """Versions, newest first, the present one among them; ``next_before`` asks for the page after, null on the last."""

    id: int
    versions: list[Version]
    next_before: int | None


class MemoryGetVersion(Arguments):
    """Arguments of ``memory_get_version``."""

    id: MemoryId
    version: VersionNumber


class Revert(Arguments, kw_only=True):
    """What a revert needs besides the memory's id."""

    version: VersionNumber
    change_summary: ChangeSummary | None = None
    if_version: IfVersion | None = None


class MemoryRevert(Revert, kw_only=True):
    """Arguments of ``memory_revert``."""

    id: MemoryId


class MemoryRestore(Arguments):
    """Arguments of ``memory_restore``."""

    id: MemoryId


class EmptyTrash(Arguments):
    """Arguments of ``memory_empty_trash``."""

    limit: Annotated[int, Meta(ge=1, le=1000, description="Erase at most so many, the longest deleted first.")] = 500


class TrashEmptied(msgspec.Struct):
    """How many memories were erased, and how many are still in the trash."""

    erased: int
    remaining: int


VERSIONS = Tool(
    name="memory_versions",
    title="History of a memory",
    description="List what one memory was before each change, newest first, with who changed it and why.",
    arguments=MemoryVersions,
    result=Versions,
    kind="read",
    category="history",
)
GET_VERSION = Tool(
    name="memory_get_version",
    title="Get a version",
    description="Read one version of a memory.",
    arguments=MemoryGetVersion,
    result=Version,
    kind="read",
    category="history",
    profile="full",
)
REVERT = Tool(
    name="memory_revert",
    title="Revert a memory",
    description="Let a memory say again what an earlier version said, as a new version.",
    arguments=MemoryRevert,
    result=Memory,
    kind="write",
    category="history",
    destructive=True,
    leaves_pending=True,
)
RESTORE = Tool(
    name="memory_restore",
    title="Restore a memory",
    description="Take a deleted memory out of the trash.",
    arguments=MemoryRestore,
    result=Memory,
    kind="write",
    category="history",
    leaves_pending=True,
)
EMPTY_TRASH = Tool(
    name="memory_empty_trash",
    title="Empty the trash",
    description="Erase deleted memories for good. Call it again while any remain.",
    arguments=EmptyTrash,
    result=TrashEmptied,
    kind="write",
    frees=True,
    category="history",
    profile="full",
    destructive=True,
)
