"""``/v1/memories``: create, read, change, delete, list."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import Parameter

from engine.catalogue.memory import (
    CREATE,
    DELETE,
    GET,
    ID_MAX,
    LIST,
    UPDATE,
    Deleted,
    Memory,
    MemoryChanges,
    MemoryCreate,
    MemoryDelete,
    MemoryGet,
    MemoryList,
    MemoryPage,
    MemoryUpdate,
)
from engine.protocol import ErrorCode, RemoteError
from gateway.api.errors import invalid
from gateway.api.problem_schema import PROBLEMS
from gateway.execution import Execution
from tenants.registry.keys import Principal

_LIST_PARAMETERS = frozenset({"workspace", "type", "tag", "tier", "limit", "cursor"})
_ID_DIGITS_MAX = len(str(ID_MAX))


@post("/memories", responses=PROBLEMS, summary="Store a memory", tags=["memories"])
async def create_memory(
    request: Request[Principal, Any, Any], data: MemoryCreate, execution: NamedDependency[Execution]
) -> Memory:
    """Store a memory. It is found by its words and its meaning when this returns."""
    result: Memory = await execution.run(request.user, CREATE, data)
    return result


@get("/memories/{memory_id:str}", responses=PROBLEMS, summary="Read a memory", tags=["memories"])
async def get_memory(request: Request[Principal, Any, Any], memory_id: str, execution: NamedDependency[Execution]) -> Memory:
    """Read one memory."""
    result: Memory = await execution.run(request.user, GET, MemoryGet(id=_parse_id(memory_id)))
    return result


@patch("/memories/{memory_id:str}", responses=PROBLEMS, summary="Change a memory", tags=["memories"])
async def update_memory(
    request: Request[Principal, Any, Any], memory_id: str, data: MemoryChanges, execution: NamedDependency[Execution]
) -> Memory:
    """Change the fields that the body has; the others stay."""
    changes = {name: getattr(data, name) for name in data.__struct_fields__}
    arguments = MemoryUpdate(id=_parse_id(memory_id), **changes)
    result: Memory = await execution.run(request.user, UPDATE, arguments)
    return result


@delete("/memories/{memory_id:str}", status_code=200, responses=PROBLEMS, summary="Delete a memory", tags=["memories"])
async def delete_memory(
    request: Request[Principal, Any, Any], memory_id: str, execution: NamedDependency[Execution]
) -> Deleted:
    """Delete one memory."""
    result: Deleted = await execution.run(request.user, DELETE, MemoryDelete(id=_parse_id(memory_id)))
    return result


@get("/memories", responses=PROBLEMS, summary="List memories", tags=["memories"])
async def list_memories(
    request: Request[Principal, Any, Any],
    execution: NamedDependency[Execution],
    workspace: str | None = None,
    memory_type: Annotated[str | None, Parameter(query="type")] = None,
    tag: list[str] | None = None,
    tier: str | None = None,
    limit: str | None = None,
    cursor: str | None = None,
) -> MemoryPage:
    """List memories, newest first. ``tag`` may be given several times: all must be there."""
    for name in request.query_params:
        if name not in _LIST_PARAMETERS:
            raise invalid(name[:64], "there is no such parameter")
        if name != "tag" and len(request.query_params.getall(name)) > 1:
            raise invalid(name, "was given more than once")
    given = {"workspace": workspace, "type": memory_type, "tags": tag, "tier": tier, "limit": limit, "cursor": cursor}
    arguments = msgspec.convert({name: value for name, value in given.items() if value is not None}, MemoryList, strict=False)
    result: MemoryPage = await execution.run(request.user, LIST, arguments)
    return result


def _parse_id(text: str) -> int:
    """Return the id in an address. What can't be an id is a memory that isn't there."""
    if text.isascii() and text.isdigit() and len(text) <= _ID_DIGITS_MAX and 0 < int(text) <= ID_MAX:
        return int(text)
    raise RemoteError(ErrorCode.NOT_FOUND, "there is no such memory")


ROUTES = [create_memory, get_memory, update_memory, delete_memory, list_memories]
