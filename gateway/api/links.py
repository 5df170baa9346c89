"""``/v1/memories/{memory_id}/links``, ``/related`` and ``/path``: how memories relate to each other."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec

from engine.catalogue.graph import (
    FIND_PATH,
    RELATED,
    EdgeTypes,
    FoundPath,
    MemoryFindPath,
    MemoryRelated,
    PathLength,
    RelatedMemories,
)
from engine.catalogue.links import (
    LINK,
    LINKS,
    UNLINK,
    EdgeType,
    Linked,
    LinkFields,
    LinkList,
    MemoryLink,
    MemoryLinks,
    MemoryUnlink,
    Unlinked,
    Way,
)
from engine.catalogue.memory import MemoryId
from engine.catalogue.operation import Arguments
from gateway.api.conditions import idempotency_key
from gateway.api.errors import invalid
from gateway.api.parameters import check_names, convert, parse_id
from gateway.api.problem_schema import PROBLEMS
from gateway.api.request import check_json
from gateway.execution import Execution
from tenants.registry.keys import Principal

_REINFORCED = {200: ResponseSpec(Linked, description="It was there, and is reinforced.", generate_examples=False)}

T = TypeVar("T", bound=Arguments)


class NewLink(LinkFields, kw_only=True):
    """A link from the memory in the address to another."""

    to_id: MemoryId


class OldLink(Arguments):
    """Which link of the memory in the address is meant."""

    to_id: MemoryId
    edge_type: EdgeType = "related_to"


class PathWanted(Arguments):
    """The parameters of a search for a path."""

    to: MemoryId
    max_depth: PathLength = 5
    edge_type: EdgeTypes = []
    direction: Way = "both"


@post("/memories/{memory_id:str}/links", responses=PROBLEMS | _REINFORCED, summary="Link two memories", tags=["links"])
async def link(
    request: Request[Principal, Any, Any], memory_id: str, data: NewLink, execution: NamedDependency[Execution]
) -> Response[Linked]:
    """Link the memory with another. 200 when that link was there: it is reinforced, and changed as the body says."""
    fields = {name: getattr(data, name) for name in data.__struct_fields__}
    arguments = MemoryLink(from_id=parse_id(memory_id), **fields)
    linked: Linked = await execution.run(request.user, LINK, arguments, idempotency_key=idempotency_key(request))
    return Response(linked, status_code=201 if linked.created else 200)


@delete("/memories/{memory_id:str}/links", status_code=200, responses=PROBLEMS, summary="Remove a link", tags=["links"])
async def unlink(
    request: Request[Principal, Any, Any],
    memory_id: str,
    execution: NamedDependency[Execution],
    to_id: str | None = None,
    edge_type: str | None = None,
) -> Unlinked:
    """Remove the link of one type, ``related_to`` if not given, to another memory. A JSON body may say the same."""
    check_names(request, {"to_id", "edge_type"})
    wanted = await _body(request, OldLink) or convert({"to_id": to_id, "edge_type": edge_type}, OldLink)
    arguments = MemoryUnlink(from_id=parse_id(memory_id), to_id=wanted.to_id, edge_type=wanted.edge_type)
    result: Unlinked = await execution.run(request.user, UNLINK, arguments)
    return result


@get("/memories/{memory_id:str}/links", responses=PROBLEMS, summary="List a memory's links", tags=["links"])
async def list_links(
    request: Request[Principal, Any, Any],
    memory_id: str,
    execution: NamedDependency[Execution],
    edge_type: str | None = None,
    direction: str | None = None,
    limit: str | None = None,
) -> LinkList:
    """List the links that begin or end at the memory, strongest first, also those that no longer hold."""
    check_names(request, {"edge_type", "direction", "limit"})
    given = {"id": parse_id(memory_id), "edge_type": edge_type, "direction": direction, "limit": limit}
    result: LinkList = await execution.run(request.user, LINKS, convert(given, MemoryLinks))
    return result


@get("/memories/{memory_id:str}/related", responses=PROBLEMS, summary="Read related memories", tags=["links"])
async def related(
    request: Request[Principal, Any, Any],
    memory_id: str,
    execution: NamedDependency[Execution],
    depth: str | None = None,
    edge_type: str | None = None,
    direction: str | None = None,
    limit: str | None = None,
) -> RelatedMemories:
    """Read the memories up to ``depth`` links away, nearest first."""
    check_names(request, {"depth", "edge_type", "direction", "limit"})
    given = {"id": parse_id(memory_id), "depth": depth, "edge_type": edge_type, "direction": direction, "limit": limit}
    result: RelatedMemories = await execution.run(request.user, RELATED, convert(given, MemoryRelated))
    return result


@get("/memories/{memory_id:str}/path", responses=PROBLEMS, summary="Find a path of links", tags=["links"])
async def find_path(
    request: Request[Principal, Any, Any],
    memory_id: str,
    execution: NamedDependency[Execution],
    to: str | None = None,
    max_depth: str | None = None,
    edge_type: list[str] | None = None,
    direction: str | None = None,
) -> FoundPath:
    """Find a shortest path to another memory. ``edge_type`` may be given several times."""
    check_names(request, {"to", "max_depth", "edge_type", "direction"}, repeatable={"edge_type"})
    given = {"to": to, "max_depth": max_depth, "edge_type": edge_type, "direction": direction}
    wanted = convert(given, PathWanted)
    arguments = MemoryFindPath(
        from_id=parse_id(memory_id),
        to_id=wanted.to,
        max_depth=wanted.max_depth,
        edge_types=wanted.edge_type,
        direction=wanted.direction,
    )
    result: FoundPath = await execution.run(request.user, FIND_PATH, arguments)
    return result


async def _body(request: Request[Any, Any, Any], kind: type[T]) -> T | None:
    """Return a body that need not be there; what it says may not be in the address too."""
    body = await request.body()
    if not body:
        return None
    check_json(request)
    if request.query_params:
        raise invalid("body", "say it in the address or in the body, not in both")
    return msgspec.json.decode(body, type=kind)


ROUTES = [link, unlink, list_links, related, find_path]
