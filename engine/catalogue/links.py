"""Links: typed edges between memories, and the tools that set, remove and list them."""

from __future__ import annotations

from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from engine.catalogue.memory import MemoryId, Timestamp
from engine.catalogue.operation import Arguments, Tool

LINKS_PER_MEMORY_MAX = 1000
"""Links that begin or end at one memory: reading them all must stay a matter of milliseconds."""

EdgeType = Literal[
    "related_to",
    "supersedes",
    "contradicts",
    "implements",
    "extends",
    "references",
    "depends_on",
    "blocks",
    "follows_up",
]
Source = Literal["auto", "manual", "llm"]
Direction = Literal["outgoing", "incoming", "both"]

ValidFrom = Annotated[datetime, Meta(tz=True, description="Since when it holds, RFC 3339 with an offset.")]
ValidTo = Annotated[datetime, Meta(tz=True, description="From when on it no longer holds.")]
SourceContext = Annotated[str, Meta(min_length=1, max_length=1024, description="Why this link exists.")]
Way = Annotated[Direction, Meta(description="`outgoing` follows links from a memory, `incoming` those to it.")]


class LinkFields(Arguments, kw_only=True):
    """What can be said of a link. What is left out when it is set again stays as it is."""

    edge_type: EdgeType = "related_to"
    strength: Annotated[float, Meta(ge=0, le=1, description="0 to 1; 1 if not given.")] | UnsetType = UNSET
    confidence: Annotated[float, Meta(ge=0, le=1, description="0 to 1; 1 if not given. Halves in 30 days.")] | UnsetType = UNSET
    pinned: Annotated[bool, Meta(description="Keep the confidence from fading.")] | UnsetType = UNSET
    source: Annotated[Source, Meta(description="Who made it; `manual` if not given.")] | UnsetType = UNSET
    source_context: SourceContext | UnsetType | None = UNSET
    valid_from: ValidFrom | UnsetType | None = UNSET
    valid_to: ValidTo | UnsetType | None = UNSET


class MemoryLink(LinkFields, kw_only=True):
    """Arguments of ``memory_link``."""

    from_id: MemoryId
    to_id: MemoryId


class MemoryUnlink(Arguments):
    """Arguments of ``memory_unlink``."""

    from_id: MemoryId
    to_id: MemoryId
    edge_type: EdgeType = "related_to"


class MemoryLinks(Arguments):
    """Arguments of ``memory_links``."""

    id: MemoryId
    edge_type: EdgeType | None = None
    direction: Way = "both"
    limit: Annotated[int, Meta(ge=1, le=LINKS_PER_MEMORY_MAX)] = 100


class Link(msgspec.Struct, kw_only=True):
    """One link as every answer shows it; ``confidence`` is the present one."""

    from_id: int
    to_id: int
    edge_type: str
    strength: float
    confidence: float
    pinned: bool
    source: str
    source_context: str | None
    valid_from: Timestamp | None
    valid_to: Timestamp | None
    created_at: Timestamp
    reinforced_at: Timestamp


class Linked(Link, kw_only=True):
    """A link that was set. ``created`` is false when it was there before and has been reinforced."""

    created: bool


class Unlinked(msgspec.Struct, kw_only=True):
    """The link that was removed."""

    from_id: int
    to_id: int
    edge_type: str
    unlinked: bool = True


class LinkList(msgspec.Struct, kw_only=True):
    """Links of one memory, strongest first; ``total`` counts those beyond the limit too."""

    links: list[Link]
    total: int


EDGE_ALIAS = MappingProxyType({"type": "edge_type"})

LINK = Tool(
    name="memory_link",
    title="Link two memories",
    description=(
        "Say how one memory relates to another: from_id supersedes, contradicts, depends_on … to_id."
        " Linking again reinforces the link and changes what you give."
    ),
    arguments=MemoryLink,
    result=Linked,
    kind="write",
    category="graph",
    idempotent=True,
    aliases=EDGE_ALIAS,
)
UNLINK = Tool(
    name="memory_unlink",
    title="Remove a link",
    description="Remove the link of one type (related_to if not given) from one memory to another.",
    arguments=MemoryUnlink,
    result=Unlinked,
    kind="write",
    frees=True,
    category="graph",
    destructive=True,
    idempotent=True,
    aliases=EDGE_ALIAS,
)
LINKS = Tool(
    name="memory_links",
    title="List a memory's links",
    description="List the links of one memory with all that is known of them, also those that no longer hold.",
    arguments=MemoryLinks,
    result=LinkList,
    kind="read",
    category="graph",
    profile="full",
    aliases=EDGE_ALIAS,
)
