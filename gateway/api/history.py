"""``/v1/memories/{id}/versions``, ``…/revert``, ``…/restore`` and the trash."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency

from engine.catalogue.history import (
    EMPTY_TRASH,
    GET_VERSION,
    RESTORE,
    REVERT,
    VERSIONS,
    EmptyTrash,
    MemoryGetVersion,
    MemoryRestore,
    MemoryRevert,
    MemoryVersions,
    Revert,
    TrashEmptied,
    Version,
    Versions,
)
from engine.catalogue.memory import Memory
from gateway.api.conditions import etag, idempotency_key, if_match
from gateway.api.parameters import check_names, convert, parse_id
from gateway.api.problem_schema import PROBLEMS
from gateway.execution import Execution
from tenants.registry.keys import Principal


@get("/memories/{memory_id:str}/versions", responses=PROBLEMS, summary="History of a memory", tags=["history"])
async def list_versions(
    request: Request[Principal, Any, Any],
    memory_id: str,
    execution: NamedDependency[Execution],
    limit: str | None = None,
    before: str | None = None,
) -> Versions:
    """List what a memory was before each change, newest first, the present version among them."""
    check_names(request, {"limit", "before"})
    arguments = convert({"id": parse_id(memory_id), "limit": limit, "before": before}, MemoryVersions)
    result: Versions = await execution.run(request.user, VERSIONS, arguments)
    return result


@get("/memories/{memory_id:str}/versions/{version:str}", responses=PROBLEMS, summary="Read a version", tags=["history"])
async def get_version(
    request: Request[Principal, Any, Any], memory_id: str, version: str, execution: NamedDependency[Execution]
) -> Version:
    """Read one version of a memory."""
    arguments = MemoryGetVersion(id=parse_id(memory_id), version=parse_id(version))
    result: Version = await execution.run(request.user, GET_VERSION, arguments)
    return result


@post("/memories/{memory_id:str}/revert", status_code=200, responses=PROBLEMS, summary="Revert a memory", tags=["history"])
async def revert(
    request: Request[Principal, Any, Any], memory_id: str, data: Revert, execution: NamedDependency[Execution]
) -> Response[Memory]:
    """Make what an earlier version said the newest version. ``If-Match`` is heeded."""
    wanted = if_match(request)
    arguments = MemoryRevert(
        id=parse_id(memory_id),
        version=data.version,
        change_summary=data.change_summary,
        if_version=data.if_version if wanted is None else wanted,
    )
    result = await execution.run(request.user, REVERT, arguments, idempotency_key=idempotency_key(request))
    return Response(result, headers=etag(result))


@post("/memories/{memory_id:str}/restore", status_code=200, responses=PROBLEMS, summary="Restore a memory", tags=["history"])
async def restore(
    request: Request[Principal, Any, Any], memory_id: str, execution: NamedDependency[Execution]
) -> Response[Memory]:
    """Take a memory out of the trash."""
    arguments = MemoryRestore(id=parse_id(memory_id))
    result = await execution.run(request.user, RESTORE, arguments, idempotency_key=idempotency_key(request))
    return Response(result, headers=etag(result))


@delete("/trash", status_code=200, responses=PROBLEMS, summary="Empty the trash", tags=["history"])
async def empty_trash(request: Request[Principal, Any, Any], execution: NamedDependency[Execution]) -> TrashEmptied:
    """Erase all that is in the trash, for good."""
    erased = 0
    while True:
        done: TrashEmptied = await execution.run(request.user, EMPTY_TRASH, EmptyTrash())
        erased += done.erased
        if not done.remaining or not done.erased:
            return TrashEmptied(erased=erased, remaining=done.remaining)


ROUTES = [list_versions, get_version, revert, restore, empty_trash]
