"""Following links: what lies around a memory, and how two memories are connected."""

from __future__ import annotations

from typing import Annotated, get_args

import msgspec
from msgspec import Meta

from engine.catalogue.links import EDGE_ALIAS, EdgeType, Way
from engine.catalogue.memory import Memory, MemoryId
from engine.catalogue.operation import Arguments, Tool

DEPTH_MAX = 8
"""Steps from a memory. Further away, nearly everything is connected with everything, and says nothing."""

REACHED_MAX = 1000
"""Memories that one call may reach."""

RELATED_MAX = 100
"""Memories that one call may return whole: 11 MB if each is as large as it can be, two thirds of a frame."""

EXCERPT_CHARACTERS = 160
"""What is shown of a memory in short: about a sentence."""

EdgeTypes = Annotated[list[EdgeType], Meta(max_length=len(get_args(EdgeType)), description="Follow only links of these types.")]
Depth = Annotated[int, Meta(ge=1, le=DEPTH_MAX, description="How many steps to go.")]
PathLength = Annotated[int, Meta(ge=1, le=DEPTH_MAX, description="The longest path to look for, in links.")]


class MemoryRelated(Arguments):
    """Arguments of ``memory_related``."""

    id: MemoryId
    depth: Depth = 1
    edge_type: EdgeType | None = None
    direction: Way = "both"
    limit: Annotated[int, Meta(ge=1, le=RELATED_MAX)] = 20


class MemoryTraverse(Arguments):
    """Arguments of ``memory_traverse``."""

    id: MemoryId
    depth: Depth = 2
    direction: Way = "both"
    edge_types: EdgeTypes = []
    min_confidence: Annotated[float, Meta(ge=0, le=1, description="Follow only links of at least this confidence.")] = 0.0
    limit: Annotated[int, Meta(ge=1, le=REACHED_MAX)] = 50


class MemoryFindPath(Arguments):
    """Arguments of ``memory_find_path``."""

    from_id: MemoryId
    to_id: MemoryId
    max_depth: PathLength = 5
    edge_types: EdgeTypes = []
    direction: Way = "both"


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """A link in short; ``confidence`` is the present one."""

    from_id: int
    to_id: int
    edge_type: str
    strength: float
    confidence: float

    @property
    def weight(self) -> float:
        """What decides which of several links is followed first."""
        return self.strength * self.confidence


class Related(msgspec.Struct, kw_only=True):
    """A memory that was reached, ``depth`` links away."""

    memory: Memory
    depth: int
    via: list[int]
    """The memories between the start and this one, in the order of the way."""
    edge: Edge
    """The last link of the way."""


class RelatedMemories(msgspec.Struct, kw_only=True):
    """Nearest first, then by strength times confidence. ``truncated``: there are more than were asked for."""

    related: list[Related]
    truncated: bool


class Node(msgspec.Struct, kw_only=True):
    """A memory in short, ``depth`` links from the start."""

    id: int
    excerpt: str
    type: str
    tags: list[str]
    workspace: str
    depth: int
    via: list[int]
    """The memories between the start and this one, in the order of the way."""


class Traversal(msgspec.Struct, kw_only=True):
    """What was reached, the start first, and the links among it that were followed."""

    nodes: list[Node]
    edges: list[Edge]
    truncated: bool


class FoundPath(msgspec.Struct, kw_only=True):
    """A shortest path with both its ends, or none. ``truncated``: the search was given up, there may be one."""

    found: bool
    path: list[int]
    nodes: list[Node]
    edges: list[Edge]
    truncated: bool


RELATED = Tool(
    name="memory_related",
    title="Related memories",
    description="Read the memories that are linked with one, nearest and strongest first, up to depth links away.",
    arguments=MemoryRelated,
    result=RelatedMemories,
    kind="read",
    category="graph",
    aliases=EDGE_ALIAS,
)
TRAVERSE = Tool(
    name="memory_traverse",
    title="Explore links",
    description="Map what surrounds a memory: excerpts of what its links lead to, and the links among them.",
    arguments=MemoryTraverse,
    result=Traversal,
    kind="read",
    category="graph",
)
FIND_PATH = Tool(
    name="memory_find_path",
    title="How are two memories connected?",
    description="Find a shortest chain of links between two memories.",
    arguments=MemoryFindPath,
    result=FoundPath,
    kind="read",
    category="graph",
)
