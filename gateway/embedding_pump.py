"""Gives vectors to texts that were stored without them: asks each engine for some, has them embedded, brings them back.

One batch per tenant and round, so that a large import does not keep a small one waiting. It holds texts for one batch only.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from engine.catalogue.embedding import PENDING, STORE, EmbeddingsStore, PendingTexts
from engine.embedder.client import EmbedderClient
from engine.protocol import ErrorCode, RemoteError

if TYPE_CHECKING:
    from tenants.router import Router

_log = structlog.get_logger()

_BATCH_TEXTS = 24
"""So many of the largest texts, in the densest script, still fit one request to the embedder."""

_EMBED_MS = 120_000
_RETRY_S = 2.0

_TRANSIENT = {
    ErrorCode.UNAVAILABLE,
    ErrorCode.OVERLOADED,
    ErrorCode.LOST,
    ErrorCode.DRAINING,
    ErrorCode.DEADLINE_EXCEEDED,
}
"""After any other error trying again would fail again: the tenant waits until it is noted anew."""


class EmbeddingPump:
    """``note`` a tenant and its texts will be embedded; ``run`` does it until cancelled."""

    def __init__(self, embedder: EmbedderClient) -> None:
        self._embedder = embedder
        self._waiting: dict[str, None] = {}
        self._noted = asyncio.Event()

    def note(self, tenant: str) -> None:
        """Remember that this tenant has pending texts."""
        self._waiting[tenant] = None
        self._noted.set()

    @property
    def waiting(self) -> int:
        """How many tenants wait for vectors."""
        return len(self._waiting)

    async def run(self, router: Router) -> None:
        """Serve the noted tenants in turn."""
        while True:
            await self._noted.wait()
            tenant = next(iter(self._waiting))
            del self._waiting[tenant]
            if not self._waiting:
                self._noted.clear()
            try:
                if await self._embed_some(router, tenant):
                    self.note(tenant)
            except RemoteError as error:
                _log.warning("pending_texts_wait", tenant=tenant, reason=str(error.code))
                if error.code in _TRANSIENT:
                    self.note(tenant)
                    await asyncio.sleep(_RETRY_S)

    async def _embed_some(self, router: Router, tenant: str) -> bool:
        """Embed one batch; whether there may be more."""
        status = await self._embedder.status()
        if status.state != "ready":
            await asyncio.sleep(_RETRY_S)
            return True
        pending = await router.call(tenant, PENDING, PendingTexts(model=status.model, limit=_BATCH_TEXTS))
        if not pending.texts:
            return False
        embeddings = await self._embedder.documents([text.content for text in pending.texts], deadline_ms=_EMBED_MS)
        keys = [(text.id, text.content_hash) for text in pending.texts]
        stored = await router.call(tenant, STORE, EmbeddingsStore(texts=keys), embeddings=embeddings)
        # When nothing could be stored, the texts have changed or the model does not fit: asking again at once won't help.
        return bool(stored.pending and stored.stored)
