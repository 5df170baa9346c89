"""The embedder as other processes see it. Loads nothing of the model.

A connection is made at the first call and again after a loss. Embedding changes nothing, so a call that lost its connection
is made once more within its deadline; when the process is down the answer is ``unavailable``, at once.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self, TypeVar

from engine.embedder.messages import EmbedderStatus, EmbedDocuments, EmbedQuery
from engine.link import Link
from engine.protocol import Embedding, ErrorCode, RemoteError
from engine.protocol.errors import invalid

T = TypeVar("T")

_CONNECT_S_MAX = 1.0
"""A live process greets within milliseconds, whatever its model is doing."""

_VECTOR_ITEM_BYTES = 4


class EmbedderClient:
    """Calls the embedder at one socket, whether it is there or not. An async context manager; any number of calls at once."""

    def __init__(self, path: Path) -> None:
        # A connection for each urgency: calls under way on one are bounded, and a large frame holds up what is behind it.
        self._queries, self._documents, self._background = (Link(path, connect_timeout_s=_CONNECT_S_MAX) for _ in range(3))
        self._links = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for link in (self._queries, self._documents, self._background):
            await self._links.enter_async_context(link)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._links.aclose()

    async def query(self, text: str, *, lane: str = "", model: str = "", deadline_ms: int = 2_000) -> Embedding:
        """Return a query's embedding: one passage, of as much as the model reads.

        Lanes are served alike; name one per tenant. ``overloaded`` when too much waits in this one, or in all together.
        ``unavailable`` when a ``model`` other than the one set is not on the embedder's machine, or has no room there now.
        """
        embedding = await _call(self._queries, "embed_query", EmbedQuery(text, model, lane), Embedding, deadline_ms)
        _check(embedding, len(text))
        if len(embedding.passages) != 1:
            raise _unexpected("a query has one passage")
        return embedding

    async def documents(
        self, texts: list[str], *, lane: str = "", background: bool = False, model: str = "", deadline_ms: int = 10_000
    ) -> list[Embedding]:
        """Return the embedding of each text, cut into passages. ``too_large`` for more than a request may hold.

        Lanes are as with queries. What is in the ``background`` gives way to all that somebody waits for.
        """
        link = self._background if background else self._documents
        arguments = EmbedDocuments(texts, model, lane, background)
        embeddings = await _call(link, "embed_documents", arguments, list[Embedding], deadline_ms)
        if len(embeddings) != len(texts):
            raise _unexpected("there is one embedding per text")
        for embedding, text in zip(embeddings, texts, strict=True):
            _check(embedding, len(text))
        return embeddings

    async def status(self) -> EmbedderStatus:
        """Return how the embedder is; ``unavailable`` when there is none."""
        return await _call(self._queries, "status", {}, EmbedderStatus, 2_000)


async def _call(link: Link, method: str, params: Any, result_type: type[T], deadline_ms: int) -> T:
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_ms / 1000
    left_ms = deadline_ms
    for last_attempt in (False, True):
        try:
            return await link.call(method, params, result_type=result_type, deadline_ms=left_ms)
        except UnicodeEncodeError as error:
            raise invalid("text", "it holds a lone surrogate, which is no character") from error
        except RemoteError as error:
            if error.code not in {ErrorCode.LOST, ErrorCode.DRAINING}:
                raise
            # The process was ending. Its successor may be there already; if not, connecting says ``unavailable``.
            left_ms = int((end - loop.time()) * 1000)
            if left_ms <= 0:
                raise RemoteError(ErrorCode.LOST, "the embedder did not answer in time") from error
            if last_attempt:
                raise RemoteError(ErrorCode.UNAVAILABLE, "the embedder went away before it answered") from error
    raise AssertionError


def _check(embedding: Embedding, characters: int) -> None:
    """Refuse what would do harm further on; a mistake in the process must not become a wrong row in a database."""
    if not embedding.model or not embedding.passages:
        raise _unexpected("an embedding has a model and passages")
    size = len(embedding.passages[0].vector)
    for passage in embedding.passages:
        if not size or len(passage.vector) != size or size % _VECTOR_ITEM_BYTES:
            raise _unexpected("vectors are float32 and equally long")
        if not 0 <= passage.start <= passage.end <= characters:
            raise _unexpected("passages lie within their text")


def _unexpected(rule: str) -> RemoteError:
    return RemoteError(ErrorCode.INTERNAL, f"the embedder's answer has an unexpected form: {rule}")
