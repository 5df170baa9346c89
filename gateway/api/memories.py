"""``/v1/memories``: create, read, change, delete, list, and many of these at once."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec

from engine.catalogue.batch import BATCH, BatchDone, MemoryBatch
from engine.catalogue.expiration import SET_EXPIRATION, MemorySetExpiration
from engine.catalogue.memory import (
    CREATE,
    DELETE,
    GET,
    UPDATE,
    Deleted,
    EventTime,
    Memory,
    MemoryChanges,
    MemoryCreate,
    MemoryDelete,
    MemoryGet,
    MemoryUpdate,
    NewMemory,
    TtlSeconds,
)
from engine.catalogue.operation import Arguments
from gateway.api.conditions import etag, idempotency_key, if_match
from gateway.api.parameters import check_names, flag, parse_id
from gateway.api.problem_schema import PROBLEMS
from gateway.execution import Execution
from tenants.registry.keys import Principal

_KNOWN = {200: ResponseSpec(NewMemory, description="`dedupe` has found it.", generate_examples=False)}


class Expiration(Arguments):
    """When a memory expires: one of the two."""

    ttl_seconds: TtlSeconds | None = None
    expires_at: EventTime | None = None


@post("/memories", responses=PROBLEMS | _KNOWN, summary="Store a memory", tags=["memories"])
async def create_memory(
    request: Request[Principal, Any, Any], data: MemoryCreate, execution: NamedDependency[Execution]
) -> Response[NewMemory]:
    """Store a memory. It is found by its words and its meaning when this returns. 200 when ``dedupe`` has found it."""
    result = await execution.run(request.user, CREATE, data, idempotency_key=idempotency_key(request))
    return Response(result, status_code=201 if result.outcome == "created" else 200, headers=etag(result))


@get("/memories/{memory_id:str}", responses=PROBLEMS, summary="Read a memory", tags=["memories"])
async def get_memory(
    request: Request[Principal, Any, Any], memory_id: str, execution: NamedDependency[Execution]
) -> Response[Memory]:
    """Read one memory. ``ETag`` names its version."""
    result = await execution.run(request.user, GET, MemoryGet(id=parse_id(memory_id)))
    return Response(result, headers=etag(result))


@patch("/memories/{memory_id:str}", responses=PROBLEMS, summary="Change a memory", tags=["memories"])
async def update_memory(
    request: Request[Principal, Any, Any], memory_id: str, data: MemoryChanges, execution: NamedDependency[Execution]
) -> Response[Memory]:
    """Change the fields that the body has; the others stay. ``If-Match`` makes it depend on the version."""
    changes = {name: getattr(data, name) for name in data.__struct_fields__}
    arguments = MemoryUpdate(id=parse_id(memory_id), if_version=if_match(request), **changes)
    result = await execution.run(request.user, UPDATE, arguments, idempotency_key=idempotency_key(request))
    return Response(result, headers=etag(result))


@delete("/memories/{memory_id:str}", status_code=200, responses=PROBLEMS, summary="Delete a memory", tags=["memories"])
async def delete_memory(
    request: Request[Principal, Any, Any], memory_id: str, execution: NamedDependency[Execution], purge: str | None = None
) -> Deleted:
    """Put a memory into the trash for 30 days, or with ``purge=true`` erase it for good. ``If-Match`` is heeded."""
    check_names(request, {"purge"})
    arguments = MemoryDelete(id=parse_id(memory_id), purge=flag("purge", purge), if_version=if_match(request))
    result: Deleted = await execution.run(request.user, DELETE, arguments, idempotency_key=idempotency_key(request))
    return result


@put("/memories/{memory_id:str}/expiration", responses=PROBLEMS, summary="Let a memory expire", tags=["memories"])
async def set_expiration(
    request: Request[Principal, Any, Any], memory_id: str, data: Expiration, execution: NamedDependency[Execution]
) -> Memory:
    """Say when a memory expires. ``ttl_seconds`` 0 makes it permanent."""
    arguments = MemorySetExpiration(id=parse_id(memory_id), ttl_seconds=data.ttl_seconds, expires_at=data.expires_at)
    result: Memory = await execution.run(request.user, SET_EXPIRATION, arguments, idempotency_key=idempotency_key(request))
    return result


@post("/memories/batch", status_code=200, responses=PROBLEMS, summary="Change many memories", tags=["memories"])
async def change_many(
    request: Request[Principal, Any, Any], data: MemoryBatch, execution: NamedDependency[Execution]
) -> BatchDone:
    """Create, change and delete up to 1,000 memories: all of it happens, or nothing."""
    result: BatchDone = await execution.run(request.user, BATCH, data, idempotency_key=idempotency_key(request))
    return result


ROUTES = [create_memory, get_memory, update_memory, delete_memory, set_expiration, change_many]
