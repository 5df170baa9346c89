"""``GET /v1/memories``: pages of memories."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import Parameter

from engine.catalogue.memory import LIST, MemoryList, MemoryPage, SortBy
from gateway.api.errors import invalid
from gateway.api.parameters import check_names, convert, flag, json_object
from gateway.api.problem_schema import PROBLEMS
from gateway.execution import Execution
from tenants.registry.keys import Principal

_PARAMETERS = frozenset(
    {"workspace", "type", "tag", "tier", "scope_type", "scope_id", "filter", "sort", "in_trash", "limit", "offset", "cursor"}
)


_SORTS = get_args(SortBy)


@get("/memories", responses=PROBLEMS, summary="List memories", tags=["memories"])
async def list_memories(
    request: Request[Principal, Any, Any],
    execution: NamedDependency[Execution],
    workspace: str | None = None,
    memory_type: Annotated[str | None, Parameter(query="type")] = None,
    tag: list[str] | None = None,
    tier: str | None = None,
    scope_type: str | None = None,
    scope_id: str | None = None,
    filter_json: Annotated[str | None, Parameter(query="filter", description="A filter, as JSON.")] = None,
    sort: Annotated[str | None, Parameter(description="A field such as `importance`; `-` in front: highest first.")] = None,
    in_trash: str | None = None,
    limit: str | None = None,
    offset: str | None = None,
    cursor: str | None = None,
) -> MemoryPage:
    """List memories, newest first. ``tag`` may be given several times: all must be there."""
    check_names(request, _PARAMETERS, repeatable={"tag"})
    given: dict[str, Any] = {"workspace": workspace, "type": memory_type, "tags": tag, "tier": tier, "cursor": cursor}
    given |= {"limit": limit, "offset": offset} | _order(sort)
    if scope_type is not None or scope_id is not None:
        given["scope"] = {"type": scope_type or "global"} | ({} if scope_id is None else {"id": scope_id})
    arguments = convert(given, MemoryList)
    arguments.filter = json_object("filter", filter_json)
    arguments.in_trash = flag("in_trash", in_trash)
    result: MemoryPage = await execution.run(request.user, LIST, arguments)
    return result


def _order(sort: str | None) -> dict[str, Any]:
    if sort is None:
        return {}
    if sort.removeprefix("-") not in _SORTS:
        raise invalid("sort", f"must be one of {', '.join(_SORTS)}, with - in front for the highest first")
    return {"sort_by": sort.removeprefix("-"), "sort_order": "desc" if sort.startswith("-") else "asc"}


ROUTES = [list_memories]
