"""``Engram-Durability: replicated``: a change is answered only when it is in the object store too, and the answer says so.

The header is read at the door. Whatever carries out a write asks to ``settle`` afterwards, which returns at once unless this
request wants more. A write that could not be carried away in time is answered ``not_replicated``: it is stored here like any
other, and will be carried away; the same request with the same ``Idempotency-Key`` waits again and writes nothing.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import structlog
from litestar.datastructures import Headers
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from engine.catalogue.recovery import FLUSH, Flush
from engine.link import Link
from engine.protocol import RemoteError
from gateway.api.errors import Problem, invalid
from tenants.messages.replica import Replicated, WaitReplicated
from tenants.router import Router

_log = structlog.get_logger()

HEADER = "Engram-Durability"
LOCAL, REPLICATED = "local", "replicated"

_WAIT_S = 10.0
"""From the write's end to the store's acknowledgement, which takes tens of milliseconds while the store is up."""

_RETRY_S = 5


@dataclass
class _Wish:
    """What one request wants, and what came of it."""

    durability: str
    granted: bool = False


_wish: ContextVar[_Wish | None] = ContextVar("engram_durability", default=None)


class DurabilityHeader(ASGIMiddleware):
    """Reads the header of each request, and writes that of the answer."""

    def __init__(self, *, replicating: bool) -> None:
        """``replicating``: whether there is an object store at all."""
        self._replicating = replicating

    def __deepcopy__(self, _: dict[int, Any]) -> DurabilityHeader:
        return self

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass a request on. ``invalid`` for a value nobody knows, ``conflict`` where nothing is replicated."""
        durability = Headers.from_scope(scope).get(HEADER)
        if durability is None:
            await next_app(scope, receive, send)
            return
        if durability not in (LOCAL, REPLICATED):
            raise invalid(HEADER, f"must be {LOCAL} or {REPLICATED}")
        if durability == REPLICATED and not self._replicating:
            raise Problem("conflict", f"{HEADER}: nothing is replicated here.", field=HEADER)
        wish = _Wish(durability)

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start" and wish.granted:
                message["headers"] = [*message["headers"], (HEADER.lower().encode(), durability.encode())]
            await send(message)

        token = _wish.set(wish)
        try:
            await next_app(scope, receive, tell)
        finally:
            _wish.reset(token)


class Durability:
    """Waits for the object store."""

    def __init__(self, router: Router, replicator: Link) -> None:
        self._router = router
        self._replicator = replicator

    async def settle(self, tenant: str) -> None:
        """Return when what was written for this request is where the request wants it; ``not_replicated`` if it won't be."""
        wish = _wish.get()
        if wish is None:
            return
        if wish.durability == REPLICATED:
            await self._replicated(tenant)
        wish.granted = True

    async def _replicated(self, tenant: str) -> None:
        deadline = time.monotonic() + _WAIT_S
        try:
            flushed = await self._router.call(tenant, FLUSH, Flush(), deadline_ms=int(_WAIT_S * 1000))
            left_ms = max(1, int(1000 * (deadline - time.monotonic())))
            await self._replicator.call(
                "wait", WaitReplicated(tenant, flushed.txid), result_type=Replicated, deadline_ms=left_ms
            )
        except RemoteError as error:
            _log.warning("not_replicated", tenant=tenant, error=str(error.code))
            detail = "The change is stored, and will be carried to the object store, which it has not reached yet."
            raise Problem("not_replicated", detail, headers={"Retry-After": str(_RETRY_S)}, retry_after=_RETRY_S) from error
