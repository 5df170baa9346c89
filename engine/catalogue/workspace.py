"""Workspaces: separate spaces of one database. One exists as long as a memory is in it, or in the trash from it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.catalogue.memory import MemoryId, Timestamp, Workspace
from engine.catalogue.operation import Arguments, Tool
from engine.catalogue.statistics import Counts

MOVED_MAX = 500
"""Memories that one call moves. The words of each are indexed anew: some tenths of a second, for which all else waits."""

TRASHED_MAX = 5000
"""Memories that one call puts into the trash, which takes as long as moving a tenth of them."""

Target = Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,64}(?![\s\S])", description="Where its memories go.")]


class WorkspaceList(Arguments):
    """Arguments of ``workspace_list``."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class WorkspaceEntry(msgspec.Struct, kw_only=True):
    """One workspace in short."""

    workspace: str
    memories: int
    trash: int
    updated_at: Timestamp
    """When something in it was last created or changed; while all is in the trash, when that was deleted."""


class Workspaces(msgspec.Struct):
    """Workspaces, those with most memories first, then by name; ``found`` counts those beyond the limit too."""

    workspaces: list[WorkspaceEntry]
    found: int


class WorkspaceStats(Arguments):
    """Arguments of ``workspace_stats``."""

    workspace: Workspace


class WorkspaceCounts(Counts, kw_only=True):
    """What one workspace holds, and when its first and last memory were created. Null: all of it is in the trash."""

    workspace: str
    first_created_at: Timestamp | None
    last_created_at: Timestamp | None
    updated_at: Timestamp | None


class WorkspaceMove(Arguments):
    """Arguments of ``workspace_move``. Either ``id`` or ``ids`` names the memories."""

    workspace: Workspace
    id: MemoryId | None = None
    ids: Annotated[list[MemoryId], Meta(max_length=MOVED_MAX, description="Memories to move.")] = []


class Moved(msgspec.Struct):
    """The memories that are now in ``workspace``; those that were there before are not in ``moved``."""

    workspace: str
    moved: list[int]


class WorkspaceDelete(Arguments):
    """Arguments of ``workspace_delete``."""

    workspace: Workspace
    mode: (
        Annotated[
            Literal["trash", "move_to"],
            Meta(description="Put its memories into the trash, or move them to the workspace `move_to`."),
        ]
        | None
    ) = None
    move_to: Target | None = None


class WorkspaceDeleted(msgspec.Struct, kw_only=True):
    """What was done to the workspace's memories. While any are ``remaining``, call again."""

    workspace: str
    trashed: int
    moved: int
    remaining: int


LIST = Tool(
    name="workspace_list",
    title="List workspaces",
    description="List the workspaces and how many memories each holds.",
    arguments=WorkspaceList,
    result=Workspaces,
    kind="read",
    category="workspace",
)
STATS = Tool(
    name="workspace_stats",
    title="Workspace statistics",
    description="Count what one workspace holds, per type, tier, scope and tag.",
    arguments=WorkspaceStats,
    result=WorkspaceCounts,
    kind="read",
    category="workspace",
)
MOVE = Tool(
    name="workspace_move",
    title="Move memories",
    description="Move one or more memories to another workspace. All or none are moved.",
    arguments=WorkspaceMove,
    result=Moved,
    kind="write",
    category="workspace",
    profile="full",
    idempotent=True,
)
DELETE = Tool(
    name="workspace_delete",
    title="Delete a workspace",
    description=(
        "Empty a workspace: its memories go into the trash, or to another workspace."
        " A big one takes several calls: call again while any remain."
    ),
    arguments=WorkspaceDelete,
    result=WorkspaceDeleted,
    kind="write",
    frees=True,
    category="workspace",
    profile="full",
    destructive=True,
)
