"""Gives vectors to texts that lack them: asks each engine for some, has them embedded, brings them back.

One batch per tenant and round, of bounded size, so that a large import does not keep a small one waiting. It holds texts for
one batch only. Nobody waits for it: the embedder does its work last, and storing the vectors takes turns with bulk writing.
After the node's model was changed, it is the pump that gives a database the new model's vectors: beside the old ones, which
are searched until all texts have new ones, and erased then, a piece per round.
"""

from __future__ import annotations

import asyncio
from itertools import accumulate
from typing import TYPE_CHECKING

import structlog

from engine.catalogue.embedding import PENDING, STORE, EmbeddingsStore, PendingText, PendingTexts
from engine.embedder.client import EmbedderClient
from engine.protocol import Embedding, ErrorCode, RemoteError
from gateway.bulk_budget import BulkBudget

if TYPE_CHECKING:
    from tenants.router import Router

_log = structlog.get_logger()

_BATCH_TEXTS = 24
_BATCH_BYTES = 64 * 1024
"""One of the largest texts, or some smaller ones: two seconds of work, three in the densest script. So long does a tenant wait
for each that is before it."""

_EMBED_MS = 120_000
_RETRY_S = 2.0

_ERASING_REST_S = 0.05
"""Between two pieces of what is erased, for the engine to serve others: ten thousand passages a second are left."""

_TRANSIENT = {
    ErrorCode.UNAVAILABLE,
    ErrorCode.OVERLOADED,
    ErrorCode.TOO_MANY,
    ErrorCode.LOST,
    ErrorCode.DRAINING,
    ErrorCode.DEADLINE_EXCEEDED,
}
"""After any other error trying again would fail again: the tenant waits until it is noted anew."""


class EmbeddingPump:
    """``note`` a tenant and its texts will be embedded; ``run`` does it until cancelled."""

    def __init__(self, embedder: EmbedderClient, budget: BulkBudget) -> None:
        self._embedder = embedder
        self._budget = budget
        self._waiting: dict[str, None] = {}
        self._noted = asyncio.Event()
        self.model = ""
        """The model that the embedder was last seen with; empty before."""

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
                await self._serve(router, tenant)
            except RemoteError as error:
                _log.warning("pending_texts_wait", tenant=tenant, reason=str(error.code))
                if error.code in _TRANSIENT:
                    self._note_later(tenant, _RETRY_S)
            except Exception:
                # What an engine answers may be anything. Its texts wait; the other tenants' must not.
                _log.exception("pending_texts_failed", tenant=tenant)

    async def _serve(self, router: Router, tenant: str) -> None:
        """Embed one batch, or erase a piece of what is obsolete; note the tenant again when there may be more."""
        status = await self._embedder.status()
        if status.state != "ready":
            self._note_later(tenant, _RETRY_S)
            return
        self.model = status.model
        pending = await router.call(tenant, PENDING, PendingTexts(model=status.model, limit=_BATCH_TEXTS))
        if not pending.texts and not pending.unsettled:
            return
        embedded = await self._embedded(tenant, _some(pending.texts))
        if any(embedding.model != status.model for _, embedding in embedded):
            self.note(tenant)  # the embedder was restarted with another model meanwhile
            return
        keys = [(text.id, text.content_hash) for text, _ in embedded]
        vectors = [embedding for _, embedding in embedded]
        async with self._budget.turn(tenant):
            stored = await router.call(tenant, STORE, EmbeddingsStore(texts=keys, model=status.model), embeddings=vectors)
        # When nothing could be stored, the texts have changed or can't be embedded: asking again at once won't help.
        if stored.pending and stored.stored:
            self.note(tenant)
        elif stored.unsettled and not stored.pending:
            self._note_later(tenant, _ERASING_REST_S)

    async def _embedded(self, tenant: str, texts: list[PendingText]) -> list[tuple[PendingText, Embedding]]:
        """Return the texts with their vectors, without those that the model can't take."""
        if not texts:
            return []
        try:
            contents = [text.content for text in texts]
            vectors = await self._embedder.documents(contents, lane=tenant, background=True, deadline_ms=_EMBED_MS)
        except RemoteError as error:
            if error.code in _TRANSIENT:
                raise
            if len(texts) > 1:  # one text must not keep the others waiting
                return [pair for text in texts for pair in await self._embedded(tenant, [text])]
            _log.warning("text_not_embedded", reason=str(error.code))
            return []
        return list(zip(texts, vectors, strict=True))

    def _note_later(self, tenant: str, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self.note, tenant)


def _some(texts: list[PendingText]) -> list[PendingText]:
    """Return as many of the first texts as make up a batch; the others stay pending."""
    sizes = accumulate(len(text.content.encode()) for text in texts)
    return [text for place, (text, size) in enumerate(zip(texts, sizes, strict=True)) if not place or size <= _BATCH_BYTES]
