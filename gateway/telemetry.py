"""What operators see: one log line per request, metrics, and the id by which the two and the client's report meet.

A line has method, route, status, duration and the tenant; never a body, a query, a key or an address's query string.
"""

from __future__ import annotations

import itertools
import re
import secrets
import time
from typing import Any

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Send
from prometheus_client import CollectorRegistry, Counter, Histogram

from gateway.request_log import RequestLog

_PROCESS = secrets.token_hex(8)
_numbers = itertools.count(1)
"""An id is this process's random part and a number: unique without asking the kernel for randomness at every request."""

_ID = re.compile(rb"[A-Za-z0-9._-]{8,128}")
_UNKNOWN_ROUTE = "unmatched"
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_QUIET = {"/health", "/ready", "/metrics"}


class RequestMetrics:
    """Counts and durations of requests, by route, not by address."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "engram_http_requests_total", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "engram_http_request_seconds",
            "Time from the request's arrival to the end of its answer.",
            ("route",),
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
            registry=registry,
        )
        self._children: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = (method, route, status)
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = (
                self.requests.labels(method, route, str(status)),
                self.seconds.labels(route),
            )
        children[0].inc()
        children[1].observe(seconds)


class Telemetry:
    """The outermost ASGI application: gives each request its id and watches it to its end."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics, log: RequestLog) -> None:
        self._app = app
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        state: dict[str, Any] = scope.setdefault("state", {})
        request_id = _request_id(scope)
        state["request_id"] = request_id
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], (b"x-request-id", request_id.encode()), *state.get("rate_limit", ())]
                message["headers"] = headers
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self._app(scope, receive, watch)
        finally:
            seconds = time.perf_counter() - started
            route = str(scope.get("path_template") or _UNKNOWN_ROUTE)
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            self._metrics.observe(method, route, status, seconds)
            if route not in _QUIET:
                fields = {
                    "method": method,
                    "route": route,
                    "status": status,
                    "ms": round(seconds * 1000, 2),
                    "tenant": getattr(scope.get("user"), "tenant", None),
                    "request_id": request_id,
                }
                self._log.add(fields)
            structlog.contextvars.unbind_contextvars("request_id")


def _request_id(scope: Any) -> str:
    """Return the client's own id when it is a harmless one, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ID.fullmatch(value):
            return str(value.decode("ascii"))
    return f"{_PROCESS}{next(_numbers):08x}"
