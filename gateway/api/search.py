"""``/v1/search`` and ``/v1/stats``."""

from __future__ import annotations

from typing import Any

from litestar import Request, get, post
from litestar.di import NamedDependency

from engine.catalogue.search import SEARCH, MemorySearch, SearchResult
from engine.catalogue.statistics import STATS, MemoryStats, Stats
from gateway.api.parameters import check_names, convert
from gateway.api.problem_schema import PROBLEMS
from gateway.execution import Execution
from tenants.registry.keys import Principal


@post("/search", status_code=200, responses=PROBLEMS, summary="Search memories", tags=["search"])
async def search(
    request: Request[Principal, Any, Any], data: MemorySearch, execution: NamedDependency[Execution]
) -> SearchResult:
    """Find memories by words, by meaning, or by both."""
    result: SearchResult = await execution.run(request.user, SEARCH, data)
    return result


@get("/stats", responses=PROBLEMS, summary="What is stored", tags=["search"])
async def stats(
    request: Request[Principal, Any, Any], execution: NamedDependency[Execution], workspace: str | None = None
) -> Stats:
    """Count what is stored, in one workspace or in all."""
    check_names(request, {"workspace"})
    result: Stats = await execution.run(request.user, STATS, convert({"workspace": workspace}, MemoryStats))
    return result


ROUTES = [search, stats]
