"""The way from a tenant's name to its engine: ask the host, keep the connection, try again where that is safe.

Safe means: the request was never executed (the engine was ending and said so, or never greeted us), or executing it twice
does no harm (reads, and writes with an idempotency key). Any other write whose answer was lost is reported as
``unavailable``: whether it happened is unknown. An engine that broke the protocol is not asked again, and then more seldom.

A request's deadline counts from the moment in which it comes here: waiting for its engine's start is part of it. Of an engine
that says nothing past a deadline, or can't be reached, the host is told; it finds out whether the engine hangs.
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
from tenants.distrust import Distrust
from tenants.in_flight import InFlight
from tenants.messages.host import Ensure, Ensured, Suspect, Suspected

_log = structlog.get_logger()

_REACH_S = 10.0
"""How long we try to reach an engine that is starting, ending or crashing."""

_RETRY_S = 0.02
_NOT_REACHED = (ErrorCode.UNAVAILABLE, ErrorCode.LOST, ErrorCode.DRAINING, ErrorCode.OVERLOADED)

_GREETED_S = 5.0
"""How long we wait to be greeted before we ask the host again where the engine is."""

_UNREACHED_S = 1.0
"""An engine that can't be reached for so long, though it runs, is suspect; one that ends, or starts, is soon gone, or there."""

_SUSPECT_MS = 500

_CLIENTS_HELD_MAX = 2000
"""Past this many, connections of engines that have ended are forgotten."""


class Router:
    """Connections to the engines in use. An async context manager."""

    def __init__(self, host: Link, *, pending: Callable[[str], None]) -> None:
        """``pending`` is told of tenants that hold texts without vectors."""
        self._host = host
        self._pending = pending
        self._in_flight = InFlight()
        self._distrust = Distrust(time.monotonic)
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
        """Return the operation's result from the tenant's engine; ``too_many`` when the tenant has too much under way."""
        may_repeat = operation.kind == "read" or bool(idempotency_key)
        deadline = time.monotonic() + deadline_ms / 1000
        lost: RemoteError | None = None
        with self._in_flight.place(tenant, deadline):
            while True:
                try:
                    client = await self._client(tenant, deadline)
                    return await client.call(
                        operation.name,
                        arguments,
                        result_type=operation.result,
                        embeddings=embeddings,
                        deadline_ms=_left_ms(deadline),
                        caller=caller,
                        trace=trace,
                        idempotency_key=idempotency_key,
                    )
                except RemoteError as error:
                    self._distrust.note(tenant, error)
                    in_time = time.monotonic() < deadline
                    if error.code == ErrorCode.DRAINING and in_time:
                        await asyncio.sleep(_RETRY_S)
                    elif error.code == ErrorCode.LOST and in_time and may_repeat and lost is None:
                        lost = error
                    else:
                        if error.code == ErrorCode.LOST and not in_time:
                            await self._suspect(tenant)
                        raise _outcome(error, lost, operation) from error

    async def stream(
        self, tenant: str, operation: Operation[Any, Any], arguments: Any, *, caller: Caller | None = None
    ) -> AsyncGenerator[Any]:
        """Yield the operation's chunks, on a connection of its own."""
        give_up_at = time.monotonic() + _REACH_S
        with self._in_flight.place(tenant, give_up_at):
            async with await self._connect(tenant, give_up_at) as client:
                chunks = client.stream(operation.name, arguments, chunk_type=operation.result, caller=caller)
                async with contextlib.aclosing(chunks):
                    try:
                        async for chunk in chunks:
                            yield chunk
                    except RemoteError as error:
                        self._distrust.note(tenant, error)
                        raise

    async def _client(self, tenant: str, deadline: float) -> Client:
        """Return a connection to the tenant's engine, which is started if need be."""
        client = self._clients.get(tenant)
        if client is not None and client.usable:
            return client
        now = time.monotonic()
        give_up_at = min(deadline, now + _REACH_S)
        try:
            async with asyncio.timeout(give_up_at - now), self._connecting.setdefault(tenant, asyncio.Lock()):
                client = self._clients.get(tenant)
                if client is None or not client.usable:
                    self._forget_unusable()
                    client = self._clients[tenant] = await self._connect(tenant, give_up_at)
                    if client.hello.pending_embeddings:
                        self._pending(tenant)
        except TimeoutError:
            message = "the engine could not be reached in time; nothing was changed"
            raise RemoteError(ErrorCode.DEADLINE_EXCEEDED, message, retry_after=1) from None
        return client

    def _forget_unusable(self) -> None:
        if len(self._clients) >= _CLIENTS_HELD_MAX:
            self._clients = {tenant: client for tenant, client in self._clients.items() if client.usable}
            self._connecting = {tenant: lock for tenant, lock in self._connecting.items() if lock.locked()}

    async def _connect(self, tenant: str, give_up_at: float) -> Client:
        self._distrust.check(tenant)
        unreached_since: float | None = None
        while True:
            try:
                ensured = await self._host.call("ensure", Ensure(tenant), result_type=Ensured, deadline_ms=_left_ms(give_up_at))
                if unreached_since is None:
                    unreached_since = time.monotonic()
                return await Client.connect(Path(ensured.socket), timeout_s=_GREETED_S)
            except RemoteError as error:
                self._distrust.note(tenant, error)
                retriable = error.code in _NOT_REACHED
                if not retriable or "retry_after" in error.details or time.monotonic() > give_up_at:
                    raise
                _log.debug("engine_not_reached", tenant=tenant, error=str(error))
            if unreached_since is not None and time.monotonic() - unreached_since >= _UNREACHED_S:
                unreached_since = time.monotonic()
                await self._suspect(tenant)
            await asyncio.sleep(_RETRY_S)

    async def _suspect(self, tenant: str) -> None:
        """Tell the host of an engine that does not answer. Without a host nothing is done: the next request tells the next."""
        busy_ms = int(1000 * max(0.0, self._in_flight.busy_until(tenant) - time.monotonic()))
        _log.warning("engine_silent", tenant=tenant, busy_ms=busy_ms)
        with contextlib.suppress(RemoteError):
            await self._host.call("suspect", Suspect(tenant, busy_ms), result_type=Suspected, deadline_ms=_SUSPECT_MS)


def _left_ms(deadline: float) -> int:
    return max(1, int(1000 * (deadline - time.monotonic())))


def _outcome(error: RemoteError, lost: RemoteError | None, operation: Operation[Any, Any]) -> RemoteError:
    """Return what the caller is told of ``error``, perhaps after an attempt that was ``lost``: a write may have happened."""
    if error.code != ErrorCode.LOST and (lost is None or error.code != ErrorCode.DEADLINE_EXCEEDED):
        return error
    if operation.kind == "write":
        message = "the engine gave no answer; whether the request was carried out is unknown"
    else:
        message = "the engine gave no answer"
    return RemoteError(ErrorCode.UNAVAILABLE, message, retry_after=1)
