"""Memories: what one is, and the tools that create, read, change and delete them."""

from __future__ import annotations

from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from engine.catalogue.operation import Arguments, Embeds, Tool

CONTENT_BYTES_MAX = 64 * 1024
"""A memory is a note, not a document store; 64 KiB is a long chapter. Counted in UTF-8."""

TAGS_MAX = 64
METADATA_BYTES_MAX = 16 * 1024
METADATA_DEPTH_MAX = 8
TTL_SECONDS_DEFAULT = 24 * 60 * 60
TTL_SECONDS_MAX = 10 * 365 * 24 * 60 * 60
ID_MAX = 2**53 - 1
"""The largest integer that JSON readers in every language keep exact."""

MemoryType = Literal[
    "note",
    "todo",
    "issue",
    "decision",
    "preference",
    "learning",
    "context",
    "credential",
    "custom",
    "transcript_chunk",
    "episodic",
    "procedural",
    "summary",
    "checkpoint",
    "image",
    "audio",
    "video",
]
Tier = Literal["permanent", "daily"]

Content = Annotated[str, Meta(min_length=1, description="The text to remember, at most 64 KiB.")]
Tag = Annotated[str, Meta(min_length=1, max_length=128)]
Tags = Annotated[list[Tag], Meta(max_length=TAGS_MAX, description="Labels; `a/b` makes a hierarchy.")]
Metadata = Annotated[dict[str, Any], Meta(description="Any JSON object, at most 16 KiB and 8 levels deep.")]
Importance = Annotated[float, Meta(ge=0, le=1, description="0 to 1.")]
Workspace = Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,64}(?![\s\S])", description="A separate space for a project.")]
TtlSeconds = Annotated[int, Meta(ge=0, le=TTL_SECONDS_MAX, description="Seconds to live; 0 clears the expiry.")]
MemoryId = Annotated[int, Meta(ge=1, le=ID_MAX, description="A memory's id.")]
EventTime = Annotated[datetime, Meta(tz=True, description="When it happened, RFC 3339 with an offset.")]
DurationSeconds = Annotated[int, Meta(ge=0, le=2**40, description="How long it lasted.")]
ChangeSummary = Annotated[str, Meta(max_length=1000, description="Why, for the history.")]
IfVersion = Annotated[int, Meta(ge=1, le=ID_MAX, description="Only if this is still its version.")]
Filter = Annotated[
    dict[str, Any],
    Meta(
        description=(
            'Conditions such as {"AND": [{"metadata.project": {"eq": "x"}}, {"importance": {"gte": 0.5}}]}. AND, OR, NOT;'
            " eq neq gt gte lt lte in contains not_contains exists."
        )
    ),
]
SortBy = Literal["created_at", "updated_at", "accessed_at", "event_time", "importance", "access_count", "id"]
Timestamp = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""RFC 3339 in UTC with six decimals, as every answer gives it."""


class Scope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose memory it is: everyone's, or one user's, session's or agent's, whose ``id`` is then required."""

    type: Literal["global", "user", "session", "agent"] = "global"
    id: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


class Memory(msgspec.Struct, kw_only=True):
    """One memory as every answer shows it."""

    id: int
    content: str
    type: str
    tags: list[str]
    metadata: dict[str, Any]
    importance: float
    workspace: str
    scope: Scope
    tier: str
    version: int
    created_at: Timestamp
    updated_at: Timestamp
    accessed_at: Timestamp | None
    access_count: int
    expires_at: Timestamp | None
    event_time: Timestamp | None
    content_hash: str
    event_duration_seconds: int | UnsetType = UNSET
    """Only where it is known."""
    deleted_at: Timestamp | UnsetType = UNSET
    """Only in the trash."""


class NewMemory(Memory, omit_defaults=True):
    """A memory as creating one answers it."""

    outcome: Literal["created", "existing", "merged"] = "created"
    """Left out unless ``dedupe`` has found that it was known."""


class MemoryCreate(Arguments):
    """Arguments of ``memory_create``."""

    content: Content
    type: MemoryType = "note"
    tags: Tags = []
    metadata: Metadata = {}
    importance: Importance = 0.5
    workspace: Workspace = "default"
    scope: Scope = Scope()
    tier: Tier = "permanent"
    ttl_seconds: TtlSeconds | None = None
    event_time: EventTime | None = None
    event_duration_seconds: DurationSeconds | None = None
    dedupe: Annotated[
        Literal["allow", "reject", "skip", "merge"],
        Meta(
            description="If its workspace and scope hold the same text: store another, refuse, return that one, merge into it."
        ),
    ] = "allow"


class MemoryGet(Arguments):
    """Arguments of ``memory_get``."""

    id: MemoryId


class MemoryChanges(Arguments, kw_only=True):
    """What a change may set. What is left out stays as it is."""

    content: Content | UnsetType = UNSET
    type: MemoryType | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    importance: Importance | UnsetType = UNSET
    workspace: Workspace | UnsetType = UNSET
    scope: Scope | UnsetType = UNSET
    tier: Tier | UnsetType = UNSET
    ttl_seconds: TtlSeconds | UnsetType = UNSET
    event_time: EventTime | UnsetType | None = UNSET
    event_duration_seconds: DurationSeconds | UnsetType | None = UNSET
    change_summary: ChangeSummary | None = None


class MemoryUpdate(MemoryChanges, kw_only=True):
    """Arguments of ``memory_update``."""

    id: MemoryId
    if_version: IfVersion | None = None


class MemoryDelete(Arguments):
    """Arguments of ``memory_delete``."""

    id: MemoryId
    purge: Annotated[bool, Meta(description="Erase it for good instead of putting it into the trash.")] = False
    if_version: IfVersion | None = None


class Deleted(msgspec.Struct):
    """What was deleted, and until when it can be restored, or from when on it is in no backup either."""

    id: int
    deleted: bool = True
    restorable_until: Timestamp | UnsetType = UNSET
    gone_from_backups_at: Timestamp | UnsetType = UNSET


class MemoryList(Arguments):
    """Arguments of ``memory_list``."""

    workspace: Workspace | None = None
    type: MemoryType | None = None
    tags: Annotated[list[Tag], Meta(max_length=16, description="Only memories with all of these.")] = []
    tier: Tier | None = None
    scope: Scope | None = None
    filter: Filter | None = None
    in_trash: Annotated[bool, Meta(description="List what is in the trash instead.")] = False
    sort_by: Annotated[SortBy, Meta(description="What to order by.")] = "created_at"
    sort_order: Annotated[Literal["asc", "desc"], Meta(description="`desc`: the newest, or the highest, first.")] = "desc"
    limit: Annotated[int, Meta(ge=1, le=500)] = 20
    offset: Annotated[int, Meta(ge=0, le=100_000, description="Skip so many; `cursor` is faster.")] = 0
    cursor: Annotated[str, Meta(max_length=128, description="`next_cursor` of the page before.")] | None = None


class MemoryPage(msgspec.Struct):
    """One page; ``next_cursor`` is null on the last."""

    memories: list[Memory]
    next_cursor: str | None


def _content(arguments: MemoryCreate | MemoryUpdate) -> list[str]:
    return [] if arguments.content is UNSET else [arguments.content]


_TYPE_ALIAS = MappingProxyType({"memory_type": "type"})
_CREATE_ALIASES = MappingProxyType({"memory_type": "type", "dedup_mode": "dedupe"})

CREATE = Tool(
    name="memory_create",
    title="Remember",
    description="Store one memory: a fact, decision, preference or event worth finding again later. Returns it with its id.",
    arguments=MemoryCreate,
    result=NewMemory,
    kind="write",
    profile="essential",
    embeds=Embeds(texts=_content, purpose="document"),
    aliases=_CREATE_ALIASES,
)
GET = Tool(
    name="memory_get",
    title="Get a memory",
    description="Read one memory in full by its id.",
    arguments=MemoryGet,
    result=Memory,
    kind="read",
    profile="essential",
)
UPDATE = Tool(
    name="memory_update",
    title="Change a memory",
    description=(
        "Change fields of one memory; what you leave out stays, and earlier versions are kept. ttl_seconds 0 removes an expiry."
    ),
    arguments=MemoryUpdate,
    result=Memory,
    kind="write",
    profile="essential",
    destructive=True,
    idempotent=True,
    embeds=Embeds(texts=_content, purpose="document"),
    aliases=_TYPE_ALIAS,
)
DELETE = Tool(
    name="memory_delete",
    title="Forget a memory",
    description=(
        "Delete one memory by its id. It is no longer found, and can be restored for 30 days; purge erases it for good."
    ),
    arguments=MemoryDelete,
    result=Deleted,
    kind="write",
    frees=True,
    profile="essential",
    destructive=True,
    idempotent=True,
)
LIST = Tool(
    name="memory_list",
    title="List memories",
    description="List memories, newest first, optionally of one workspace, type, tier, with given tags or by a filter.",
    arguments=MemoryList,
    result=MemoryPage,
    kind="read",
    profile="essential",
    aliases=_TYPE_ALIAS,
)
