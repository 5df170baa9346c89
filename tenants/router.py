"""The way from a tenant's name to its engine: ask the host, keep the connection, try again where that is safe.

Safe means: the request was never executed (the engine was ending and said so, or never greeted us), or executing it twice
does no harm (reads, and writes with an idempotency key). Any other write whose answer was lost is reported as
``unavailable``: whether it happened is unknown.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, Self

import structlog

from engine.catalogue import Operation
from engine.client import Client
from engine.link import Link
from engine.protocol import Caller, Embedding, ErrorCode, RemoteError
from engine.protocol.limits import DEADLINE_DEFAULT_MS
from tenants.host.messages import Ensure, Ensured

_log = structlog.get_logger()

_REACH_S = 10.0
"""How long we try to reach an engine that is starting, ending or crashing."""

_RETRY_S = 0.02
_NOT_REACHED = (ErrorCode.UNAVAILABLE, ErrorCode.LOST, ErrorCode.DRAINING, ErrorCode.OVERLOADED)

_CLIENTS_HELD_MAX = 2000
"""Past this many, connections of engines that have ended are forgotten."""


class Router:
    """Connections to the engines in use. An async context manager."""

    def __init__(self, host: Link, *, pending: Callable[[str], None]) -> None:
        """``pending`` is told of tenants that hold texts without vectors."""
        self._host = host
        self._pending = pending
        self._clients: dict[str, Client] = {}
        self._connecting: dict[str, asyncio.Lock] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for client in list(self._clients.values()):
            await client.close()

    async def call(
        self,
        tenant: str,
        operation: Operation[Any, Any],
        arguments: Any,
        *,
        caller: Caller | None = None,
        embeddings: list[Embedding] | None = None,
        deadline_ms: int = DEADLINE_DEFAULT_MS,
        trace: str = "",
        idempotency_key: str = "",
    ) -> Any:
        """Return the operation's result from the tenant's engine."""
        may_repeat = operation.kind == "read" or bool(idempotency_key)
        give_up_at = time.monotonic() + min(_REACH_S, deadline_ms / 1000)
        lost_once = False
        while True:
            client = await self._client(tenant, give_up_at)
            try:
                return await client.call(
                    operation.name,
                    arguments,
                    result_type=operation.result,
                    embeddings=embeddings,
                    deadline_ms=deadline_ms,
                    caller=caller,
                    trace=trace,
                    idempotency_key=idempotency_key,
                )
            except RemoteError as error:
                if error.code == ErrorCode.DRAINING and time.monotonic() < give_up_at:
                    await asyncio.sleep(_RETRY_S)
                    continue
                if error.code != ErrorCode.LOST:
                    raise
                if not may_repeat or lost_once:
                    message = "the engine ended before it answered; whether the request was carried out is unknown"
                    raise RemoteError(ErrorCode.UNAVAILABLE, message, retry_after=1) from error
                lost_once = True

    async def stream(
        self, tenant: str, operation: Operation[Any, Any], arguments: Any, *, caller: Caller | None = None
    ) -> AsyncGenerator[Any]:
        """Yield the operation's chunks, on a connection of its own."""
        async with await self._connect(tenant, time.monotonic() + _REACH_S) as client:
            chunks = client.stream(operation.name, arguments, chunk_type=operation.result, caller=caller)
            async with contextlib.aclosing(chunks):
                async for chunk in chunks:
                    yield chunk

    async def _client(self, tenant: str, give_up_at: float) -> Client:
        client = self._clients.get(tenant)
        if client is not None and client.usable:
            return client
        async with self._connecting.setdefault(tenant, asyncio.Lock()):
            client = self._clients.get(tenant)
            if client is None or not client.usable:
                self._forget_unusable()
                client = self._clients[tenant] = await self._connect(tenant, give_up_at)
                if client.hello.pending_embeddings:
                    self._pending(tenant)
        return client

    def _forget_unusable(self) -> None:
        if len(self._clients) >= _CLIENTS_HELD_MAX:
            self._clients = {tenant: client for tenant, client in self._clients.items() if client.usable}
            self._connecting = {tenant: lock for tenant, lock in self._connecting.items() if lock.locked()}

    async def _connect(self, tenant: str, give_up_at: float) -> Client:
        while True:
            try:
                ensured = await self._host.call("ensure", Ensure(tenant), result_type=Ensured)
                return await Client.connect(Path(ensured.socket))
            except RemoteError as error:
                retriable = error.code in _NOT_REACHED
                if not retriable or "retry_after" in error.details or time.monotonic() > give_up_at:
                    raise
                _log.debug("engine_not_reached", tenant=tenant, error=str(error))
            await asyncio.sleep(_RETRY_S)
