"""``/v1/tags``, ``/v1/activity`` and ``/v1/duplicates``: what there is, what happened, and what is there twice."""

from __future__ import annotations

from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency

from engine.catalogue.activity import RECENT, Activity, RecentActivity
from engine.catalogue.duplicates import FIND, Duplicates, FindDuplicates
from engine.catalogue.tag import TAGS, MemoryTags, TagCounts
from gateway.api.parameters import check_names, convert
from gateway.api.problem_schema import PROBLEMS
from gateway.execution import Execution
from tenants.registry.keys import Principal


@get("/tags", responses=PROBLEMS, summary="List tags", tags=["overview"])
async def list_tags(
    request: Request[Principal, Any, Any],
    execution: NamedDependency[Execution],
    prefix: str | None = None,
    workspace: str | None = None,
    limit: str | None = None,
) -> TagCounts:
    """List the tags in use. ``a`` counts the memories with ``a/b`` in its ``total``."""
    check_names(request, {"prefix", "workspace", "limit"})
    arguments = convert({"prefix": prefix, "workspace": workspace, "limit": limit}, MemoryTags)
    result: TagCounts = await execution.run(request.user, TAGS, arguments)
    return result


@get("/activity", responses=PROBLEMS, summary="Recent activity", tags=["overview"])
async def recent_activity(
    request: Request[Principal, Any, Any],
    execution: NamedDependency[Execution],
    timeframe: str | None = None,
    workspace: str | None = None,
    limit: str | None = None,
) -> Activity:
    """Show what was created, changed and deleted in the last ``24h`` or any other ``timeframe``, newest first."""
    check_names(request, {"timeframe", "workspace", "limit"})
    arguments = convert({"timeframe": timeframe, "workspace": workspace, "limit": limit}, RecentActivity)
    result: Activity = await execution.run(request.user, RECENT, arguments)
    return result


@get("/duplicates", responses=PROBLEMS, summary="Find duplicates", tags=["overview"])
async def find_duplicates(
    request: Request[Principal, Any, Any],
    execution: NamedDependency[Execution],
    threshold: str | None = None,
    workspace: str | None = None,
    limit: str | None = None,
    before: str | None = None,
) -> Duplicates:
    """Suggest memories that say the same, or nearly. ``before`` goes on where the last answer ended."""
    check_names(request, {"threshold", "workspace", "limit", "before"})
    given = {"threshold": threshold, "workspace": workspace, "limit": limit, "before": before}
    result: Duplicates = await execution.run(request.user, FIND, convert(given, FindDuplicates))
    return result


ROUTES = [list_tags, recent_activity, find_duplicates]
