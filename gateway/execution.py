"""Carries a tool call to its engine: embed what the tool declares, call, and do without vectors when there are none.

A text that can't be embedded now is stored at once and marked pending; a search that can't be embedded goes by words. Only a
search that asks for meaning alone fails.

A database is spoken to in the model whose vectors it searches. After the node's model was changed that is the old one until
all texts have vectors of the new: the engine refuses others and names it, and the embedder is asked for that.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any

import structlog

from engine.catalogue import Operation, Tool
from engine.embedder.client import EmbedderClient
from engine.protocol import Embedding, ErrorCode, RemoteError
from gateway.admission import caller, check_scope
from gateway.embedding_pump import EmbeddingPump
from tenants.registry.keys import Principal
from tenants.router import Router

_log = structlog.get_logger()

_NO_VECTORS = (ErrorCode.UNAVAILABLE, ErrorCode.OVERLOADED, ErrorCode.DEADLINE_EXCEEDED, ErrorCode.LOST, ErrorCode.DRAINING)

_EMBEDDER_REST_S = 5.0
"""An embedder that let somebody wait to the end is not asked again at once: one request in a while finds out, not each."""

_SOON_CHARACTERS_MAX = 4096
"""What an embedder that works has done long before the deadline. That one customer's 64 KiB take longer, which they do in
Chinese, says nothing about anybody else's texts."""

_EMBED_QUERY_MS = 2_000
_EMBED_DOCUMENT_MS = 5_000
_EMBED_OTHER_MODEL_MS = 8_000
"""The first to ask for a model that is not the one set waits until it is loaded."""

TEXTS_AT_ONCE_MAX = 64
CHARACTERS_AT_ONCE_MAX = 65_536
"""What is embedded while the caller waits: the largest memory there may be, in English a second and a half of work. More
stays pending."""

_HELD_MAX = 10_000
"""Databases whose model is remembered; a forgotten one costs a refused call."""


class Execution:
    """Runs the catalogue's operations for principals."""

    def __init__(self, router: Router, embedder: EmbedderClient, pump: EmbeddingPump) -> None:
        self._router = router
        self._embedder = embedder
        self._pump = pump
        self._embedder_rests_until = 0.0
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
        return result

    async def operate(self, principal: Principal, operation: Operation[Any, Any], arguments: Any, *, deadline_ms: int) -> Any:
        """Return the result of an operation that is no tool."""
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
        return await self._router.call(
            principal.tenant,
            tool,
            arguments,
            caller=caller(principal),
            embeddings=embeddings,
            idempotency_key=idempotency_key,
        )

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
        try:
            if time.monotonic() < self._embedder_rests_until:
                raise RemoteError(ErrorCode.UNAVAILABLE, "the embedder has just failed")
            if len(texts) > TEXTS_AT_ONCE_MAX or sum(map(len, texts)) > CHARACTERS_AT_ONCE_MAX:
                return []
            if embeds.purpose == "query":
                deadline_ms = _EMBED_OTHER_MODEL_MS if model else _EMBED_QUERY_MS
                return [await self._embedder.query(text, model=model, deadline_ms=deadline_ms) for text in texts]
            deadline_ms = _EMBED_OTHER_MODEL_MS if model else _EMBED_DOCUMENT_MS
            return await self._embedder.documents(texts, model=model, deadline_ms=deadline_ms)
        except RemoteError as error:
            if model:
                self._held.pop(tenant, None)  # by the next call the database may hold another
            elif error.code == ErrorCode.LOST or (
                error.code == ErrorCode.DEADLINE_EXCEEDED and sum(map(len, texts)) <= _SOON_CHARACTERS_MAX
            ):
                self._embedder_rests_until = time.monotonic() + _EMBEDDER_REST_S
            if error.code not in _NO_VECTORS:
                raise
            if _needs_meaning(arguments):
                raise _no_meaning() from error
            _log.warning("not_embedded", tool=tool.name, reason=str(error.code))
            return []


def _no_meaning() -> RemoteError:
    return RemoteError(ErrorCode.UNAVAILABLE, "meaning can't be searched right now", retry_after=1)


def _needs_meaning(arguments: Any) -> bool:
    return getattr(arguments, "mode", None) == "semantic"
