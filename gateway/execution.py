"""Carries a tool call to its engine: embed what the tool declares, call, and do without vectors when there are none.

A text that can't be embedded now is stored at once and marked pending; a search that can't be embedded goes by words. Only a
search that asks for meaning alone fails.

A database is spoken to in the model whose vectors it searches. After the node's model was changed that is the old one until
all texts have vectors of the new: the engine refuses others and names it, and the embedder is asked for that.

Bulk writing takes its turns by the node's budget; everything else goes straight to its engine.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Any

import structlog

from engine.catalogue import Operation, Tool
from engine.embedder.client import EmbedderClient
from engine.protocol import Embedding, ErrorCode, RemoteError
from gateway.admission import caller, check_scope
from gateway.bulk_budget import WAIT_S, BulkBudget
from gateway.bulk_calls import at_once, is_bulk
from gateway.durability import Durability
from gateway.embedding_pump import EmbeddingPump
from tenants.registry.keys import Principal
from tenants.router import Router

_log = structlog.get_logger()

_NO_VECTORS = (
    ErrorCode.UNAVAILABLE,
    ErrorCode.OVERLOADED,
    ErrorCode.DEADLINE_EXCEEDED,
    ErrorCode.LOST,
    ErrorCode.DRAINING,
    ErrorCode.BROKEN,
)

_EMBEDDER_REST_S = 5.0
"""An embedder that let somebody wait to the end is not asked again at once: one request in a while finds out, not each."""

_SILENT_S = 0.9
"""An embedder that is down is found missing in a moment. One that can't be reached for so long stands still."""

_SOON_CHARACTERS_MAX = 4096
"""What an embedder that works has done long before the deadline. That a customer's 64 KiB take longer, which they do in
Chinese, says nothing about other texts."""

_EMBED_QUERY_MS = 2_000
_EMBED_DOCUMENT_MS = 5_000
_EMBED_OTHER_MODEL_MS = 8_000
"""The first to ask for a model that is not the one set waits until it is loaded."""

_HELD_MAX = 10_000
"""Databases whose model is remembered; a forgotten one costs a refused call."""

_EVERYBODY = ""


class Execution:
    """Runs the catalogue's operations for principals."""

    def __init__(
        self, router: Router, embedder: EmbedderClient, pump: EmbeddingPump, budget: BulkBudget, durability: Durability
    ) -> None:
        self._router = router
        self._embedder = embedder
        self._pump = pump
        self._budget = budget
        self._durability = durability
        self._rests: dict[str, float] = {}
        self._held: dict[str, str] = {}

    async def run(self, principal: Principal, tool: Tool[Any, Any], arguments: Any, *, idempotency_key: str = "") -> Any:
        """Return the tool's result for this caller."""
        check_scope(principal, tool.scope)
        tenant = principal.tenant
        held = self._held.get(tenant, "")
        if held == self._pump.model:
            held = ""  # the one that is set
        elif held:
            self._pump.note(tenant)
        embeddings = await self._embed(tenant, tool, arguments, held)
        try:
            result = await self._call(principal, tool, arguments, embeddings, idempotency_key)
        except RemoteError as error:
            if error.code != ErrorCode.WRONG_MODEL:
                raise
            self._pump.note(tenant)
            embeddings = await self._embed(tenant, tool, arguments, self._remember(tenant, error))
            result = await self._call_at_last(principal, tool, arguments, embeddings, idempotency_key)
        if tool.leaves_pending or (tool.kind == "write" and tool.embeds is not None and not embeddings):
            self._pump.note(tenant)
        if tool.kind == "write":
            await self._durability.settle(tenant)
        return result

    async def settle(self, principal: Principal) -> None:
        """Return when what ``operate`` has written is as durable as its request asked for."""
        await self._durability.settle(principal.tenant)

    async def operate(self, principal: Principal, operation: Operation[Any, Any], arguments: Any, *, deadline_ms: int) -> Any:
        """Return the result of an operation that is no tool: a step of bulk writing, which waits for its turn."""
        async with self._budget.turn(principal.tenant):
            return await self._router.call(
                principal.tenant, operation, arguments, caller=caller(principal), deadline_ms=deadline_ms
            )

    def stream(self, principal: Principal, operation: Operation[Any, Any], arguments: Any) -> AsyncGenerator[Any]:
        """Yield the chunks of a streaming operation."""
        return self._router.stream(principal.tenant, operation, arguments, caller=caller(principal))

    def note_pending(self, principal: Principal) -> None:
        """Have the principal's pending texts embedded soon."""
        self._pump.note(principal.tenant)

    async def _call(
        self, principal: Principal, tool: Tool[Any, Any], arguments: Any, embeddings: list[Embedding], idempotency_key: str
    ) -> Any:
        async with self._turn(principal.tenant, tool, arguments):
            return await self._router.call(
                principal.tenant,
                tool,
                arguments,
                caller=caller(principal),
                embeddings=embeddings,
                idempotency_key=idempotency_key,
            )

    def _turn(self, tenant: str, tool: Tool[Any, Any], arguments: Any) -> AbstractAsyncContextManager[None]:
        if is_bulk(tool, arguments):
            return self._budget.turn(tenant, wait_s=WAIT_S)
        return self._budget.someone_else()

    async def _call_at_last(
        self, principal: Principal, tool: Tool[Any, Any], arguments: Any, embeddings: list[Embedding], idempotency_key: str
    ) -> Any:
        """Call with vectors of the model that was named, and without any should it be another's turn since."""
        try:
            return await self._call(principal, tool, arguments, embeddings, idempotency_key)
        except RemoteError as error:
            if error.code != ErrorCode.WRONG_MODEL:
                raise
            self._remember(principal.tenant, error)
            if _needs_meaning(arguments):
                raise _no_meaning() from error
            return await self._call(principal, tool, arguments, [], idempotency_key)

    def _remember(self, tenant: str, refusal: RemoteError) -> str:
        """Return the model that an engine holds, as its refusal says."""
        if len(self._held) >= _HELD_MAX:
            self._held.clear()
        held = self._held[tenant] = str(refusal.details.get("model", ""))
        return held

    async def _embed(self, tenant: str, tool: Tool[Any, Any], arguments: Any, model: str) -> list[Embedding]:
        """Return the vectors of the arguments' texts, of the ``model`` named or else the one set; none if they can't be had."""
        embeds = tool.embeds
        texts = [] if embeds is None else embeds.texts(arguments)
        if embeds is None or not texts or not any(text.strip() for text in texts):
            return []
        if not at_once(texts):
            return []
        asked_at = time.monotonic()
        try:
            if asked_at < max(self._rests.get(_EVERYBODY, 0.0), self._rests.get(tenant, 0.0)):
                raise RemoteError(ErrorCode.UNAVAILABLE, "the embedder has just failed")
            if embeds.purpose == "query":
                deadline_ms = _EMBED_OTHER_MODEL_MS if model else _EMBED_QUERY_MS
                ask = self._embedder.query
                return [await ask(text, lane=tenant, model=model, deadline_ms=deadline_ms) for text in texts]
            deadline_ms = _EMBED_OTHER_MODEL_MS if model else _EMBED_DOCUMENT_MS
            return await self._embedder.documents(texts, lane=tenant, model=model, deadline_ms=deadline_ms)
        except RemoteError as error:
            if model:
                self._held.pop(tenant, None)  # by the next call the database may hold another
            elif sum(map(len, texts)) <= _SOON_CHARACTERS_MAX:
                self._rest(tenant, error.code, time.monotonic() - asked_at)
            if error.code not in _NO_VECTORS:
                raise
            if _needs_meaning(arguments):
                raise _no_meaning() from error
            _log.warning("not_embedded", tool=tool.name, reason=str(error.code))
            return []

    def _rest(self, tenant: str, code: ErrorCode, waited_s: float) -> None:
        """Have the embedder asked nothing for a while if it stands still; by this tenant alone if its turn came too late."""
        if code == ErrorCode.DEADLINE_EXCEEDED:
            whose = tenant  # the process answers: the tenant itself has more waiting there than its share lets through
        elif code in (ErrorCode.LOST, ErrorCode.UNAVAILABLE) and waited_s >= _SILENT_S:
            whose = _EVERYBODY
        else:
            return
        if len(self._rests) >= _HELD_MAX:
            self._rests.clear()
        self._rests[whose] = time.monotonic() + _EMBEDDER_REST_S


def _no_meaning() -> RemoteError:
    return RemoteError(ErrorCode.UNAVAILABLE, "meaning can't be searched right now", retry_after=1)


def _needs_meaning(arguments: Any) -> bool:
    return getattr(arguments, "mode", None) == "semantic"
