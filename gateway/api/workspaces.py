"""``/v1/workspaces``: list them, count what one holds, move memories to one, and empty one."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from msgspec import Meta

from engine.catalogue.memory import MemoryId
from engine.catalogue.operation import Arguments
from engine.catalogue.workspace import (
    DELETE,
    LIST,
    MOVE,
    MOVED_MAX,
    STATS,
    Moved,
    WorkspaceCounts,
    WorkspaceDelete,
    WorkspaceDeleted,
    WorkspaceList,
    WorkspaceMove,
    Workspaces,
    WorkspaceStats,
)
from gateway.api.conditions import idempotency_key
from gateway.api.parameters import check_names, convert
from gateway.api.problem_schema import PROBLEMS
from gateway.execution import Execution
from tenants.registry.keys import Principal


class MoveWanted(Arguments):
    """Which memories to move to the workspace in the address."""

    ids: Annotated[list[MemoryId], Meta(min_length=1, max_length=MOVED_MAX)]


@get("/workspaces", responses=PROBLEMS, summary="List workspaces", tags=["workspaces"])
async def list_workspaces(
    request: Request[Principal, Any, Any], execution: NamedDependency[Execution], limit: str | None = None
) -> Workspaces:
    """List the workspaces, those with most memories first."""
    check_names(request, {"limit"})
    result: Workspaces = await execution.run(request.user, LIST, convert({"limit": limit}, WorkspaceList))
    return result


@get("/workspaces/{workspace:str}", responses=PROBLEMS, summary="What a workspace holds", tags=["workspaces"])
async def workspace_stats(
    request: Request[Principal, Any, Any], workspace: str, execution: NamedDependency[Execution]
) -> WorkspaceCounts:
    """Count what one workspace holds."""
    arguments = convert({"workspace": workspace}, WorkspaceStats)
    result: WorkspaceCounts = await execution.run(request.user, STATS, arguments)
    return result


@post("/workspaces/{workspace:str}/move", status_code=200, responses=PROBLEMS, summary="Move memories", tags=["workspaces"])
async def move_memories(
    request: Request[Principal, Any, Any], workspace: str, data: MoveWanted, execution: NamedDependency[Execution]
) -> Moved:
    """Move memories into the workspace, all or none."""
    arguments = convert({"workspace": workspace, "ids": data.ids}, WorkspaceMove)
    result: Moved = await execution.run(request.user, MOVE, arguments, idempotency_key=idempotency_key(request))
    return result


@delete("/workspaces/{workspace:str}", status_code=200, responses=PROBLEMS, summary="Empty a workspace", tags=["workspaces"])
async def delete_workspace(
    request: Request[Principal, Any, Any], workspace: str, execution: NamedDependency[Execution], move_to: str | None = None
) -> WorkspaceDeleted:
    """Put a workspace's memories into the trash, or move them. While ``remaining`` is above 0, ask again."""
    check_names(request, {"move_to"})
    arguments = convert({"workspace": workspace, "move_to": move_to}, WorkspaceDelete)
    result: WorkspaceDeleted = await execution.run(request.user, DELETE, arguments, idempotency_key=idempotency_key(request))
    return result


ROUTES = [list_workspaces, workspace_stats, move_memories, delete_workspace]
