"""The embedder's methods, and the model behind them as it comes and is missed.

The methods answer from the first moment: without a model ``embed_*`` are refused with the reason, and the model is looked
for again every few seconds, so that it may be prepared while the service runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import msgspec
import structlog

from engine.embedder.batch import Batcher
from engine.embedder.messages import (
    CHARACTERS_PER_REQUEST_MAX,
    PASSAGES_PER_REQUEST_MAX,
    EmbedderStatus,
    EmbedDocuments,
    EmbedQuery,
)
from engine.embedder.prepare import ModelUnavailable
from engine.embedder.settings import Settings
from engine.protocol import Embedding, ErrorCode, Passage, RemoteError, Request
from engine.protocol.errors import invalid
from engine.service import Method

if TYPE_CHECKING:
    from engine.embedder.model import Model

_LOOK_AGAIN_S = 3.0

_CHARACTERS_HELD_MAX = 4 * CHARACTERS_PER_REQUEST_MAX
"""Documents taken in and not yet answered; the bound of what they hold in memory before they are cut into passages."""

_CHARACTERS_PER_TOKEN = 3
"""Fewer than English has. A query's length in tokens only decides which queries share a batch."""

_log = structlog.get_logger()
T = TypeVar("T", bound=msgspec.Struct)


class Embedder:
    """Looks for the model, then embeds. An async context manager."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state: Literal["ready", "starting", "unavailable"] = "starting"
        self._reason = "the model is being loaded"
        self._model: Model | None = None
        self._batcher: Batcher | None = None
        self._characters_held = 0
        # Tokenizing has a thread beside the model's, so that a long document does not hold up a query.
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")
        self._tasks = asyncio.TaskGroup()
        self._holding: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._holding = self._tasks.create_task(self._hold_model())
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        assert self._holding is not None
        self._holding.cancel()
        await self._tasks.__aexit__(None, None, None)
        self._tokenizing.shutdown(cancel_futures=True)

    def methods(self) -> dict[str, Method]:
        """Return the methods by name."""
        return {"embed_documents": self.embed_documents, "embed_query": self.embed_query, "status": self.status}

    def refuse(self) -> None:
        """Answer what waits for the model with ``draining``, and take nothing more."""
        if self._batcher is not None:
            self._batcher.close()

    async def embed_documents(self, request: Request) -> list[Embedding]:
        texts = _arguments(request, EmbedDocuments).texts
        model, batcher = self._ready()
        characters = sum(map(len, texts))
        _check_size("characters", characters, CHARACTERS_PER_REQUEST_MAX)
        with self._held(characters):
            cut = await asyncio.get_running_loop().run_in_executor(self._tokenizing, model.spans, texts)
            _check_size("passages", sum(map(len, cut)), PASSAGES_PER_REQUEST_MAX)
            passages = [(text[span.start : span.end], span) for text, spans in zip(texts, cut, strict=True) for span in spans]
            vectors = iter(await batcher.documents((text for text, _ in passages), (span.tokens for _, span in passages)))
        return [Embedding(model.name, [Passage(span.start, span.end, next(vectors)) for span in spans]) for spans in cut]

    async def embed_query(self, request: Request) -> Embedding:
        text = _arguments(request, EmbedQuery).text
        model, batcher = self._ready()
        vector = await batcher.query(text, min(model.tokens_max, len(text) // _CHARACTERS_PER_TOKEN + 1))
        return Embedding(model.name, [Passage(0, len(text), vector)])

    async def status(self, request: Request) -> EmbedderStatus:
        model, batcher = self._model, self._batcher
        return EmbedderStatus(
            state=self._state,
            reason=self._reason,
            model=self._settings.model,
            dimensions=model.dimensions if model else 0,
            queued=batcher.queued if batcher else 0,
            texts_total=batcher.texts_total if batcher else 0,
            batches_total=batcher.batches_total if batcher else 0,
            seconds_total=batcher.seconds_total if batcher else 0.0,
        )

    def _ready(self) -> tuple[Model, Batcher]:
        if self._model is None or self._batcher is None:
            raise RemoteError(ErrorCode.UNAVAILABLE, self._reason)
        return self._model, self._batcher

    @contextlib.contextmanager
    def _held(self, characters: int) -> Iterator[None]:
        if self._characters_held + characters > _CHARACTERS_HELD_MAX:
            raise RemoteError(ErrorCode.OVERLOADED, "too many texts wait to be embedded", limit=_CHARACTERS_HELD_MAX)
        self._characters_held += characters
        try:
            yield
        finally:
            self._characters_held -= characters

    async def _hold_model(self) -> None:
        """Find the model and keep it running until cancelled."""
        while True:
            model = await self._load()
            if model is not None:
                break
            await asyncio.sleep(_LOOK_AGAIN_S)
        async with Batcher(model) as batcher:
            self._model, self._batcher, self._state, self._reason = model, batcher, "ready", ""
            _log.info("model_ready", model=model.name, dimensions=model.dimensions)
            await asyncio.get_running_loop().create_future()

    async def _load(self) -> Model | None:
        try:
            return await asyncio.to_thread(_load, self._settings)
        except ModelUnavailable as error:
            self._state, self._reason = "unavailable", str(error)
            return None
        except Exception as error:
            # The error may name folders, and the reason is public: it is on /ready.
            if self._state != "unavailable":
                _log.warning("model_unavailable", model=self._settings.model, error=str(error))
            self._state, self._reason = "unavailable", "the embedding model can't be loaded; the log says why"
            return None


def _load(settings: Settings) -> Model:
    from engine.embedder.model import Model  # takes a second or two, while the socket already answers

    return Model.load(settings.model, settings.models_dir)


def _check_size(what: str, count: int, limit: int) -> None:
    if count > limit:
        raise RemoteError(ErrorCode.TOO_LARGE, f"texts: over {limit} {what} together", field="texts", limit=limit)


def _arguments(request: Request, arguments_type: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(request.params, type=arguments_type)
    except msgspec.DecodeError as error:
        raise invalid("params", str(error)) from error
