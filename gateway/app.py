"""Wiring: routes, what they depend on, how errors are shown. No behaviour of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from litestar import Litestar, Request, Response, Router
from litestar.contrib.jinja import JinjaTemplateEngine
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, License, SecurityScheme
from litestar.template import TemplateConfig
from litestar.types import ASGIApp

from engine import VERSION
from gateway.admission import Admission, SignupLimit
from gateway.api import (
    context,
    errors,
    history,
    keys,
    links,
    listing,
    memories,
    operations,
    overview,
    recovery,
    search,
    signup,
    transfer,
    workspaces,
)
from gateway.api.request import StrictRequest
from gateway.console.pages import PAGES, TEMPLATES
from gateway.console.plan_rows import plan_rows
from gateway.console.rendering import problem_page, wants_page
from gateway.console.static_files import static_file
from gateway.durability import DurabilityHeader
from gateway.execution import Execution
from gateway.import_turns import ImportTurns
from gateway.mcp import endpoint
from gateway.metrics import Metrics
from gateway.places import Places
from gateway.readiness import ReadinessProbe
from gateway.recovery import Recovery
from gateway.request_log import RequestLog
from gateway.settings import GatewaySettings
from gateway.telemetry import Telemetry
from gateway.upload import Spool
from quotas.rate_limiter import RateLimiter
from tenants.registry.registry import Registry

BODY_BYTES_MAX = 8 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Dependencies:
    """What handlers may ask for, each under the name of its field."""

    settings: GatewaySettings
    registry: Registry
    execution: Execution
    limiter: RateLimiter
    readiness: ReadinessProbe
    metrics: Metrics
    recovery: Recovery
    request_log: RequestLog


def create_app(given: Dependencies) -> ASGIApp:
    """Return the gateway's ASGI application."""
    settings = given.settings
    signup_limit = SignupLimit(given.limiter, per_minute=settings.signups_per_minute)
    v1 = Router(
        path="/v1",
        route_handlers=[
            *memories.ROUTES,
            *listing.ROUTES,
            *history.ROUTES,
            *links.ROUTES,
            *search.ROUTES,
            *context.ROUTES,
            *overview.ROUTES,
            *workspaces.ROUTES,
            *transfer.ROUTES,
            *recovery.ROUTES,
            *keys.ROUTES,
            *endpoint.ROUTES,
        ],
        middleware=[Admission(given.registry, given.limiter), DurabilityHeader(replicating=settings.replicating)],
        security=[{"key": []}],
    )
    app = Litestar(
        route_handlers=[*PAGES, static_file, *signup.ROUTES, *operations.ROUTES, v1],
        dependencies={
            "settings": _always(settings),
            "registry": _always(given.registry),
            "execution": _always(given.execution),
            "readiness": _always(given.readiness),
            "metrics": _always(given.metrics),
            "recovery": _always(given.recovery),
            "signup_limit": _always(signup_limit),
            "places": _always(Places()),
            "turns": _always(ImportTurns()),
            "spool": _always(Spool(settings.data_folder / "spool")),
            "public_url": _always(settings.public_url),
            "signup_plan": _always(settings.signup_plan),
            "plans": _always(plan_rows()),
        },
        exception_handlers={Exception: _show_error},
        request_max_body_size=BODY_BYTES_MAX,
        template_config=TemplateConfig(directory=TEMPLATES, engine=JinjaTemplateEngine),
        openapi_config=_openapi(settings.public_url),
        logging_config=None,
        request_class=StrictRequest,
    )
    return Telemetry(app, given.metrics.requests, given.request_log)


def _always(value: Any) -> Provide:
    provider: Callable[[], Any] = lambda: value  # noqa: E731
    return Provide(provider, sync_to_thread=False, use_cache=True)


def _show_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Answer a program with a problem, and a person outside the API with a page."""
    problem = errors.as_problem(error)
    if wants_page(request) and not request.scope["path"].startswith("/v1/"):
        request_id = request.scope["state"]["request_id"]
        return problem_page(errors.CODES[problem.code][0], request_id=request_id, headers=problem.headers)
    return errors.response(problem)


def _openapi(public_url: str) -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Engram Cloud",
        version=VERSION,
        description="A private memory database for AI agents. Errors are application/problem+json with a stable `code`.",
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        path="/schema",
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        components=Components(
            security_schemes={
                "key": SecurityScheme(type="http", scheme="bearer", description="A key: ek_live_…", bearer_format="ek_live_")
            }
        ),
        servers=[],
    )
