"""The embedder's methods, and the models behind them as they come and are missed.

The methods answer from the first moment: without the model that is set ``embed_*`` are refused with the reason, and it is
looked for again every few seconds, so that it may be prepared while the service runs.

One other model may be asked for by name beside it: databases that hold an earlier model's vectors are searched with that
until they have been embedded anew. It is let go when nobody asks for it any more.

A request names a lane, so that senders get equal shares. Of a lane is known what waits in it now, and nothing afterwards.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import msgspec
import structlog

from engine.embedder.batch import Batcher, Queue
from engine.embedder.chunker import Span
from engine.embedder.holding import Holding
from engine.embedder.messages import (
    CHARACTERS_PER_REQUEST_MAX,
    PASSAGES_PER_REQUEST_MAX,
    EmbedderStatus,
    EmbedDocuments,
    EmbedQuery,
)
from engine.embedder.prepare import ModelUnavailable
from engine.embedder.schedule import Urgency
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

_RUN_TOKENS_MAX = 64
"""A line or two: 7 ms of the model's time. So long does a query wait that comes now, or as long as one passage takes, which is
20 to 30 at the most. Larger runs save nothing but trips to the thread, 0.1 ms each."""

_TEXT_TOKENS = 16
"""What a text takes besides its tokens, in tokens: a line takes 1.2 ms, 254 tokens take 20."""

_RUN_CHARACTERS_MAX = 4096
"""Cut in 3 ms, or 13 in the densest script."""

_CHARACTERS_PER_TOKEN = 3
"""Fewer than English has. A query's length in tokens only says what it costs."""

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
        self._batcher = Batcher("model", run_cost_max=_RUN_TOKENS_MAX)
        # Cutting has a thread and a queue of its own, so that a long document does not hold up a query, nor a short document.
        self._cutter = Batcher("tokenizer", run_cost_max=_RUN_CHARACTERS_MAX)
        self._to_cut = self._cutter.open()
        self._holding = Holding()
        self._set: _Loaded | None = None
        self._other: _Loaded | None = None
        self._loading_other = asyncio.Lock()
        self._tasks = asyncio.TaskGroup()
        self._watching: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._batcher.__aenter__()
        await self._cutter.__aenter__()
        await self._tasks.__aenter__()
        self._watching = [self._tasks.create_task(each()) for each in (self._look_for_model, self._watch_other_model)]
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        for task in self._watching:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)
        await self._cutter.__aexit__(None, None, None)
        await self._batcher.__aexit__(None, None, None)

    def methods(self) -> dict[str, Method]:
        """Return the methods by name."""
        return {"embed_documents": self.embed_documents, "embed_query": self.embed_query, "status": self.status}

    def refuse(self) -> None:
        """Answer what waits for the model with ``draining``, and take nothing more."""
        self._cutter.close()
        self._batcher.close()

    async def embed_documents(self, request: Request) -> list[Embedding]:
        arguments = _arguments(request, EmbedDocuments)
        texts, lane = arguments.texts, arguments.lane
        urgency = Urgency.BACKGROUND if arguments.background else Urgency.DOCUMENT
        lengths = [len(text) for text in texts]
        _check_size("characters", sum(lengths), CHARACTERS_PER_REQUEST_MAX)
        loaded = await self._loaded(arguments.model)
        model = loaded.model
        with self._holding.of((urgency, lane), sum(lengths)):
            costs = [length + 1 for length in lengths]
            cut: list[list[Span]] = await self._to_cut.run(model.spans, texts, costs, urgency=urgency, lane=lane)
            _check_size("passages", sum(map(len, cut)), PASSAGES_PER_REQUEST_MAX)
            passages = [(text[span.start : span.end], span) for text, spans in zip(texts, cut, strict=True) for span in spans]
            vectors = iter(
                await loaded.queue.run(
                    model.embed_documents,
                    [text for text, _ in passages],
                    [_cost(span.tokens) for _, span in passages],
                    urgency=urgency,
                    lane=lane,
                )
            )
        return [Embedding(model.name, [Passage(span.start, span.end, next(vectors)) for span in spans]) for spans in cut]

    async def embed_query(self, request: Request) -> Embedding:
        arguments = _arguments(request, EmbedQuery)
        text, lane = arguments.text, arguments.lane
        loaded = await self._loaded(arguments.model)
        model = loaded.model
        cost = _cost(min(model.tokens_max, len(text) // _CHARACTERS_PER_TOKEN))
        with self._holding.of((Urgency.QUERY, lane), len(text)):
            (vector,) = await loaded.queue.run(model.embed_query, [text], [cost], urgency=Urgency.QUERY, lane=lane)
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
            batches_total=batcher.runs_total,
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
                self._other = _Loaded(model, self._batcher.open(), now())
            self._other.used_at = now()
            return self._other

    async def _look_for_model(self) -> None:
        """Find the model that is set."""
        while isinstance(model := await self._load(self._settings.model, here_only=False), str):
            self._state, self._reason = "unavailable", model
            await asyncio.sleep(_LOOK_AGAIN_S)
        self._set = _Loaded(model, self._batcher.open(), 0.0)
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


def _cost(tokens: int) -> int:
    return tokens + _TEXT_TOKENS


def _check_size(what: str, count: int, limit: int) -> None:
    if count > limit:
        raise RemoteError(ErrorCode.TOO_LARGE, f"texts: over {limit} {what} together", field="texts", limit=limit)


def _arguments(request: Request, arguments_type: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(request.params, type=arguments_type)
    except msgspec.DecodeError as error:
        raise invalid("params", str(error)) from error
