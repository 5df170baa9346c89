"""``/health``, ``/ready`` and ``/metrics``, for operators and what checks on us."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import HttpMethod, MediaType, Response, get, route
from litestar.di import NamedDependency
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.metrics import Metrics
from gateway.readiness import ReadinessProbe

# Monitors like to ask with HEAD.
_ASKED = [HttpMethod.GET, HttpMethod.HEAD]


@route(
    "/health",
    http_method=_ASKED,
    media_type=MediaType.JSON,
    summary="Alive",
    tags=["operations"],
    security=[],
    sync_to_thread=False,
)
def health() -> dict[str, str]:
    """Say that this process runs."""
    return {"status": "alive"}


@route("/ready", http_method=_ASKED, summary="Ready, part by part", tags=["operations"], security=[])
async def ready(readiness: NamedDependency[ReadinessProbe]) -> Response[Any]:
    """Say whether requests can be served: 200 for ``ready`` and ``degraded``, 503 for ``unavailable``."""
    answer = await readiness.check()
    return Response(msgspec.to_builtins(answer), status_code=503 if answer.status == "unavailable" else 200)


@get("/metrics", media_type=MediaType.TEXT, summary="Prometheus metrics", tags=["operations"], security=[])
async def metrics(metrics: NamedDependency[Metrics]) -> Response[bytes]:
    """Return all metrics in Prometheus' text format."""
    await metrics.refresh()
    return Response(generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


ROUTES = [health, ready, metrics]
