"""Collects what many requests want embedded into batches, and runs one at a time on a thread of its own.

A batch saves trips to the thread; the model still takes its texts one by one, so that none leaves a trace in another's vector.
Queries go ahead of documents, whichever model either is for: a person waits for them. Documents take turns, passage by passage,
so that a short one is not held up behind a long one. A batch is bounded by its tokens, because a query that comes now waits
for it.

Nothing is remembered: a hit would tell one tenant what another has stored. What its caller gave up on is dropped before it
reaches the model.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol, Self

import structlog

from engine.embedder.messages import PASSAGES_PER_REQUEST_MAX
from engine.protocol import ErrorCode, RemoteError

BATCH_TEXTS_MAX = 32
BATCH_TOKENS_MAX = 512

QUERIES_QUEUED_MAX = 1024
"""About two seconds of work, the time a search waits for its vector before it does without."""

PASSAGES_QUEUED_MAX = 2 * PASSAGES_PER_REQUEST_MAX
"""The largest request fits beside another. Minutes of work: who waits for it has a deadline, and gives up by it."""

_log = structlog.get_logger()


class Encoder(Protocol):
    """What runs on the thread. Each call returns one vector per text."""

    def embed_documents(self, texts: list[str]) -> list[bytes]:
        """Return the vector of each passage."""

    def embed_query(self, texts: list[str]) -> list[bytes]:
        """Return the vector of each query."""


@dataclass(slots=True)
class _Job:
    """One request: its texts, the vectors as they come, and who waits for them."""

    texts: list[str]
    tokens: list[int]
    future: asyncio.Future[list[bytes]]
    vectors: dict[int, bytes] = field(default_factory=dict)
    started: int = 0

    def finish(self, index: int, vector: bytes) -> None:
        self.vectors[index] = vector
        if len(self.vectors) == len(self.texts) and not self.future.done():
            self.future.set_result([self.vectors[position] for position in range(len(self.texts))])


_Run = list[tuple[_Job, int]]


class _Lane:
    """Jobs of one kind in order of arrival, and the runs already made of them."""

    def __init__(self, embed: Callable[[list[str]], list[bytes]], texts_max: int) -> None:
        self.embed = embed
        self.queued = 0
        self._texts_max = texts_max
        self._jobs: deque[_Job] = deque()
        self._runs: deque[_Run] = deque()

    def add(self, job: _Job) -> None:
        if self.queued + len(job.texts) > self._texts_max:
            raise RemoteError(ErrorCode.OVERLOADED, "too many texts wait to be embedded", limit=self._texts_max)
        self.queued += len(job.texts)
        self._jobs.append(job)

    def next_run(self) -> _Run:
        """Return what to embed next, without what nobody waits for any more; empty when there is nothing."""
        while self._runs or self._collect():
            run = self._runs.popleft()
            self.queued -= len(run)
            if alive := [(job, index) for job, index in run if not job.future.done()]:
                return alive
        return []

    def fail_all(self, error: RemoteError) -> None:
        while run := self.next_run():
            for job, _ in run:
                if not job.future.done():
                    job.future.set_exception(error)

    def _collect(self) -> bool:
        """Take a passage of each job in turn and cut them into runs, the short ones first. False when no job is left."""
        group: _Run = []
        while self._jobs and len(group) < BATCH_TEXTS_MAX:
            job = self._jobs.popleft()
            if job.future.done():
                self.queued -= len(job.texts) - job.started
                continue
            group.append((job, job.started))
            job.started += 1
            if job.started < len(job.texts):
                self._jobs.append(job)
        group.sort(key=lambda entry: entry[0].tokens[entry[1]])
        run: _Run = []
        tokens = 0
        for job, index in group:
            if run and tokens + job.tokens[index] > BATCH_TOKENS_MAX:
                self._runs.append(run)
                run, tokens = [], 0
            run.append((job, index))
            tokens += job.tokens[index]
        if run:
            self._runs.append(run)
        return bool(group)


class Queue:
    """What waits for one model."""

    def __init__(self, encoder: Encoder, arrived: asyncio.Event) -> None:
        self.queries = _Lane(encoder.embed_query, QUERIES_QUEUED_MAX)
        self.passages = _Lane(encoder.embed_documents, PASSAGES_QUEUED_MAX)
        self._arrived = arrived
        self._refusal: RemoteError | None = None

    @property
    def queued(self) -> int:
        """Texts that wait for the model."""
        return self.queries.queued + self.passages.queued

    async def query(self, text: str, tokens: int) -> bytes:
        """Return the vector of a query of about ``tokens`` tokens."""
        return (await self._embed(self.queries, [text], [tokens]))[0]

    async def documents(self, texts: Iterable[str], tokens: Iterable[int]) -> list[bytes]:
        """Return the vectors of passages; ``tokens`` says how long each is."""
        return await self._embed(self.passages, list(texts), list(tokens))

    def close(self, refusal: RemoteError) -> None:
        """Take nothing more and refuse what waits; a batch under way is finished."""
        self._refusal = refusal
        self.queries.fail_all(refusal)
        self.passages.fail_all(refusal)

    async def _embed(self, lane: _Lane, texts: list[str], tokens: list[int]) -> list[bytes]:
        if self._refusal is not None:
            raise self._refusal
        if not texts:
            return []
        job = _Job(texts, tokens, asyncio.get_running_loop().create_future())
        lane.add(job)
        self._arrived.set()
        return await job.future


class Batcher:
    """Embeds for many requests at once. An async context manager; leaving it refuses what still waits."""

    def __init__(self) -> None:
        self.texts_total = 0
        self.batches_total = 0
        self.seconds_total = 0.0
        self._queues: deque[Queue] = deque()
        self._arrived = asyncio.Event()
        self._closed = False
        # One thread for all models: a second one would take turns by the clock, and a query could not go first.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._tasks.create_task(self._work())
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        self.close()
        await self._tasks.__aexit__(None, None, None)
        self._thread.shutdown()

    @property
    def queued(self) -> int:
        """Texts that wait for any model."""
        return sum(queue.queued for queue in self._queues)

    def add(self, encoder: Encoder) -> Queue:
        """Return a queue for what ``encoder`` is to embed."""
        queue = Queue(encoder, self._arrived)
        if self._closed:
            queue.close(_ending())
        self._queues.append(queue)
        return queue

    def remove(self, queue: Queue, refusal: RemoteError) -> None:
        """Have a queue's model used no more; what waits for it is refused."""
        queue.close(refusal)
        self._queues.remove(queue)

    def close(self) -> None:
        """Take nothing more and refuse what waits; the batch under way is finished."""
        self._closed = True
        for queue in self._queues:
            queue.close(_ending())
        self._arrived.set()

    async def _work(self) -> None:
        while not self._closed:
            lane, run = self._next_run()
            if lane is None:
                self._arrived.clear()
                await self._arrived.wait()
            else:
                await self._embed_run(lane.embed, run)

    def _next_run(self) -> tuple[_Lane | None, _Run]:
        for queue in self._queues:
            if run := queue.queries.next_run():
                return queue.queries, run
        for queue in self._queues:
            if run := queue.passages.next_run():
                self._queues.remove(queue)  # the models' documents take turns
                self._queues.append(queue)
                return queue.passages, run
        return None, []

    async def _embed_run(self, embed: Callable[[list[str]], list[bytes]], run: _Run) -> None:
        loop = asyncio.get_running_loop()
        began = perf_counter()
        try:
            vectors = await loop.run_in_executor(self._thread, embed, [job.texts[index] for job, index in run])
        except Exception:
            if len(run) > 1:  # one caller's text must not fail another's
                for entry in run:
                    await self._embed_run(embed, [entry])
                return
            _log.exception("embedding_failed")
            error = RemoteError(ErrorCode.INTERNAL, "the text could not be embedded")
            for job, _ in run:
                if not job.future.done():
                    job.future.set_exception(error)
            return
        self.seconds_total += perf_counter() - began
        self.batches_total += 1
        self.texts_total += len(run)
        for (job, index), vector in zip(run, vectors, strict=True):
            job.finish(index, vector)


def _ending() -> RemoteError:
    return RemoteError(ErrorCode.DRAINING, "the embedder is ending")
