"""The embedder's methods, and the models behind them as they come and are missed.

The methods answer from the first moment: without the model that is set ``embed_*`` are refused with the reason, and it is
looked for again every few seconds, so that it may be prepared while the service runs.

One other model may be asked for by name beside it: databases that hold an earlier model's vectors are searched with that
until they have been embedded anew. It is let go when nobody asks for it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import msgspec
import structlog

from engine.embedder.batch import Batcher, Queue
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

_OTHER_KEPT_S = 60.0
"""So long after its last use the other model's place is not given to a third: two that take turns would only be loaded."""

_OTHER_IDLE_S = 600.0
"""Loading it takes a second; keeping it takes up to several hundred megabytes."""

_CHARACTERS_HELD_MAX = 4 * CHARACTERS_PER_REQUEST_MAX
"""Documents taken in and not yet answered; the bound of what they hold in memory before they are cut into passages."""

_CHARACTERS_PER_TOKEN = 3
"""Fewer than English has. A query's length in tokens only decides which queries share a batch."""

_log = structlog.get_logger()
T = TypeVar("T", bound=msgspec.Struct)


@dataclass
class _Loaded:
    """A model, and what waits for it."""

    model: Model
    queue: Queue
    used_at: float


class Embedder:
    """Looks for the model, then embeds. An async context manager."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state: Literal["ready", "starting", "unavailable"] = "starting"
        self._reason = "the model is being loaded"
        self._batcher = Batcher()
        self._set: _Loaded | None = None
        self._other: _Loaded | None = None
        self._loading_other = asyncio.Lock()
        self._characters_held = 0
        # Tokenizing has a thread beside the model's, so that a long document does not hold up a query.
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")
        self._tasks = asyncio.TaskGroup()
        self._watching: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._batcher.__aenter__()
        await self._tasks.__aenter__()
        self._watching = [self._tasks.create_task(each()) for each in (self._look_for_model, self._watch_other_model)]
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        for task in self._watching:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)
        await self._batcher.__aexit__(None, None, None)
        self._tokenizing.shutdown(cancel_futures=True)

    def methods(self) -> dict[str, Method]:
        """Return the methods by name."""
        return {"embed_documents": self.embed_documents, "embed_query": self.embed_query, "status": self.status}

    def refuse(self) -> None:
        """Answer what waits for the model with ``draining``, and take nothing more."""
        self._batcher.close()

    async def embed_documents(self, request: Request) -> list[Embedding]:
        arguments = _arguments(request, EmbedDocuments)
        texts = arguments.texts
        loaded = await self._loaded(arguments.model)
        model = loaded.model
        characters = sum(map(len, texts))
        _check_size("characters", characters, CHARACTERS_PER_REQUEST_MAX)
        with self._held(characters):
            cut = await asyncio.get_running_loop().run_in_executor(self._tokenizing, model.spans, texts)
            _check_size("passages", sum(map(len, cut)), PASSAGES_PER_REQUEST_MAX)
            passages = [(text[span.start : span.end], span) for text, spans in zip(texts, cut, strict=True) for span in spans]
            vectors = iter(await loaded.queue.documents((text for text, _ in passages), (span.tokens for _, span in passages)))
        return [Embedding(model.name, [Passage(span.start, span.end, next(vectors)) for span in spans]) for spans in cut]

    async def embed_query(self, request: Request) -> Embedding:
        arguments = _arguments(request, EmbedQuery)
        text = arguments.text
        loaded = await self._loaded(arguments.model)
        model = loaded.model
        vector = await loaded.queue.query(text, min(model.tokens_max, len(text) // _CHARACTERS_PER_TOKEN + 1))
        return Embedding(model.name, [Passage(0, len(text), vector)])

    async def status(self, request: Request) -> EmbedderStatus:
        batcher = self._batcher
        return EmbedderStatus(
            state=self._state,
            reason=self._reason,
            model=self._settings.model,
            dimensions=self._set.model.dimensions if self._set else 0,
            queued=batcher.queued,
            texts_total=batcher.texts_total,
            batches_total=batcher.batches_total,
            seconds_total=batcher.seconds_total,
        )

    async def _loaded(self, name: str) -> _Loaded:
        """Return the model of that name, the one that is set for an empty name; ``unavailable`` when it can't be had."""
        if name in ("", self._settings.model):
            if self._set is None:
                raise RemoteError(ErrorCode.UNAVAILABLE, self._reason)
            return self._set
        # The name was told by a database. It may be any, so it is only looked for here, and nothing is fetched for it.
        now = asyncio.get_running_loop().time
        async with self._loading_other:
            if self._other is not None and self._other.model.name != name:
                if now() < self._other.used_at + _OTHER_KEPT_S:
                    raise RemoteError(ErrorCode.UNAVAILABLE, "another model is in use beside the one that is set")
                self._let_go_of_other()
            if self._other is None:
                model = await self._load(name, here_only=True)
                if isinstance(model, str):
                    raise RemoteError(ErrorCode.UNAVAILABLE, model)
                self._other = _Loaded(model, self._batcher.add(model), now())
            self._other.used_at = now()
            return self._other

    @contextlib.contextmanager
    def _held(self, characters: int) -> Iterator[None]:
        if self._characters_held + characters > _CHARACTERS_HELD_MAX:
            raise RemoteError(ErrorCode.OVERLOADED, "too many texts wait to be embedded", limit=_CHARACTERS_HELD_MAX)
        self._characters_held += characters
        try:
            yield
        finally:
            self._characters_held -= characters

    async def _look_for_model(self) -> None:
        """Find the model that is set."""
        while isinstance(model := await self._load(self._settings.model, here_only=False), str):
            self._state, self._reason = "unavailable", model
            await asyncio.sleep(_LOOK_AGAIN_S)
        self._set = _Loaded(model, self._batcher.add(model), 0.0)
        self._state, self._reason = "ready", ""

    async def _watch_other_model(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(_OTHER_KEPT_S)
            async with self._loading_other:
                if self._other is not None and now() > self._other.used_at + _OTHER_IDLE_S:
                    self._let_go_of_other()

    def _let_go_of_other(self) -> None:
        assert self._other is not None
        self._batcher.remove(self._other.queue, RemoteError(ErrorCode.UNAVAILABLE, "the model is no longer in use"))
        self._other = None

    async def _load(self, name: str, *, here_only: bool) -> Model | str:
        """Return the model, or why it can't be had."""
        try:
            model = await asyncio.to_thread(_load, name, self._settings, here_only)
        except ModelUnavailable as error:
            return str(error)
        except Exception as error:
            # The error may name folders, and the reason is public: it is on /ready.
            reason = "the embedding model can't be loaded; the log says why"
            if self._reason != reason:
                _log.warning("model_unavailable", model=name, error=str(error))
            return reason
        _log.info("model_ready", model=name, dimensions=model.dimensions)
        return model


def _load(name: str, settings: Settings, here_only: bool) -> Model:
    from engine.embedder.model import Model  # takes a second or two, while the socket already answers

    return Model.load(name, settings.models_dir, here_only=here_only)


def _check_size(what: str, count: int, limit: int) -> None:
    if count > limit:
        raise RemoteError(ErrorCode.TOO_LARGE, f"texts: over {limit} {what} together", field="texts", limit=limit)


def _arguments(request: Request, arguments_type: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(request.params, type=arguments_type)
    except msgspec.DecodeError as error:
        raise invalid("params", str(error)) from error
