"""The door: who is calling, may they, and not too fast. Everything under ``/v1`` passes here before a body is read."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from engine.protocol import Caller, Limits
from gateway.api.errors import Problem
from gateway.authentication import authenticate
from quotas.plans import FORGOTTEN_AFTER_S, PLANS
from quotas.rate_limiter import Decision, RateLimiter
from tenants.registry.keys import Principal
from tenants.registry.registry import Registry

_LIMITS = {
    name: Limits(memories=plan.memories, storage_bytes=plan.storage_bytes, backups_kept_s=plan.recovery_s + FORGOTTEN_AFTER_S)
    for name, plan in PLANS.items()
}


class Admission(ASGIMiddleware):
    """Sets ``scope["user"]`` to the caller's ``Principal``, and ``scope["state"]["rate_limit"]`` for the answer's headers."""

    def __init__(self, registry: Registry, limiter: RateLimiter) -> None:
        self._registry = registry
        self._limiter = limiter

    def __deepcopy__(self, _: dict[int, Any]) -> Admission:
        """Return the same: Litestar copies a router with all it holds, and there is one registry."""
        return self

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        principal = authenticate(scope, self._registry)
        plan = PLANS[principal.plan]
        if plan.requests_per_second is not None and plan.burst is not None:
            decision = self._limiter.take(principal.tenant, per_second=plan.requests_per_second, burst=plan.burst)
            scope["state"]["rate_limit"] = rate_headers(decision)
            if not decision.allowed:
                raise too_fast(decision)
        scope["user"] = principal
        await next_app(scope, receive, send)


def require(scope: str) -> Any:
    """Return a Litestar guard that lets only keys with ``scope`` pass."""

    def guard(connection: ASGIConnection[Any, Principal, Any, Any], _: BaseRouteHandler) -> None:
        check_scope(connection.user, scope)

    return guard


def check_scope(principal: Principal, scope: str) -> None:
    """``forbidden`` unless the key has ``scope``."""
    if scope not in principal.scopes:
        raise Problem("forbidden", f"This key lacks the scope {scope}.", scope=scope)


def caller(principal: Principal) -> Caller:
    """Return what the engine needs to know of the caller."""
    return Caller(key_id=principal.key_id, scopes=principal.scopes, limits=_LIMITS[principal.plan])


class SignupLimit:
    """Lets one address sign up now and then: each costs a password hash and a database."""

    def __init__(self, limiter: RateLimiter, *, per_minute: int) -> None:
        self._limiter = limiter
        self._per_minute = per_minute

    def admit(self, connection: ASGIConnection[Any, Any, Any, Any]) -> None:
        """``rate_limited`` when this address has signed up too often."""
        address = connection.client.host if connection.client is not None else ""
        decision = self._limiter.take(f"signup {address}", per_second=self._per_minute / 60, burst=self._per_minute)
        if not decision.allowed:
            raise too_fast(decision)


def rate_headers(decision: Decision) -> list[tuple[bytes, bytes]]:
    """Return the headers that tell a client where it stands."""
    return [
        (b"ratelimit-limit", str(decision.limit).encode()),
        (b"ratelimit-remaining", str(decision.remaining).encode()),
        (b"ratelimit-reset", str(decision.reset_s).encode()),
    ]


def too_fast(decision: Decision) -> Problem:
    """Return the problem of a request over the rate."""
    seconds = decision.retry_after_s
    return Problem("rate_limited", headers={"Retry-After": str(seconds)}, retry_after=seconds)
