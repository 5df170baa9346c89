"""Carries a tool call to its engine: embed what the tool declares, call, and do without vectors when there are none.

A text that can't be embedded now is stored at once and marked pending; a search that can't be embedded goes by words. Only a
search that asks for meaning alone fails.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any

import structlog
from msgspec import UNSET

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

_EMBED_QUERY_MS = 2_000
_EMBED_DOCUMENT_MS = 5_000


class Execution:
    """Runs the catalogue's operations for principals."""

    def __init__(self, router: Router, embedder: EmbedderClient, pump: EmbeddingPump) -> None:
        self._router = router
        self._embedder = embedder
        self._pump = pump
        self._embedder_rests_until = 0.0

    async def run(self, principal: Principal, tool: Tool[Any, Any], arguments: Any) -> Any:
        """Return the tool's result for this caller."""
        check_scope(principal, tool.scope)
        embeddings = await self._embed(tool, arguments)
        try:
            result = await self._router.call(principal.tenant, tool, arguments, caller=caller(principal), embeddings=embeddings)
        except RemoteError as error:
            if error.code != ErrorCode.WRONG_MODEL or _needs_meaning(arguments):
                raise
            # The database holds another model's vectors: by words, or pending, until it has been embedded anew.
            embeddings = []
            result = await self._router.call(principal.tenant, tool, arguments, caller=caller(principal))
        if tool.kind == "write" and tool.embeds is not None and not embeddings:
            self._pump.note(principal.tenant)
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

    async def _embed(self, tool: Tool[Any, Any], arguments: Any) -> list[Embedding]:
        embeds = tool.embeds
        if embeds is None or getattr(arguments, "mode", None) == "keyword":
            return []
        text = getattr(arguments, embeds.argument)
        if text is UNSET or not text.strip():
            return []
        try:
            if time.monotonic() < self._embedder_rests_until:
                raise RemoteError(ErrorCode.UNAVAILABLE, "the embedder has just failed")
            if embeds.purpose == "query":
                return [await self._embedder.query(text, deadline_ms=_EMBED_QUERY_MS)]
            return await self._embedder.documents([text], deadline_ms=_EMBED_DOCUMENT_MS)
        except RemoteError as error:
            if error.code in (ErrorCode.LOST, ErrorCode.DEADLINE_EXCEEDED):
                self._embedder_rests_until = time.monotonic() + _EMBEDDER_REST_S
            if error.code not in _NO_VECTORS:
                raise
            if _needs_meaning(arguments):
                message = "meaning can't be searched right now"
                raise RemoteError(ErrorCode.UNAVAILABLE, message, retry_after=1) from error
            _log.warning("not_embedded", tool=tool.name, reason=str(error.code))
            return []


def _needs_meaning(arguments: Any) -> bool:
    return getattr(arguments, "mode", None) == "semantic"
