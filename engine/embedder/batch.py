"""Collects what many requests want embedded into batches, and runs one at a time on a thread of its own.

A batch saves trips to the thread; the model still takes its texts one by one, so that none leaves a trace in another's vector.
Queries go ahead of documents: a person waits for them. Documents take turns, passage by passage, so that a short one is not
held up behind a long one. A batch is bounded by its tokens, because a query that comes now waits for it.

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


class Batcher:
    """Embeds for many requests at once. An async context manager; leaving it refuses what still waits."""

    def __init__(self, encoder: Encoder) -> None:
        self.texts_total = 0
        self.batches_total = 0
        self.seconds_total = 0.0
        self._queries = _Lane(encoder.embed_query, QUERIES_QUEUED_MAX)
        self._documents = _Lane(encoder.embed_documents, PASSAGES_QUEUED_MAX)
        self._arrived = asyncio.Event()
        self._closed = False
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
        """Texts that wait for the model."""
        return self._queries.queued + self._documents.queued

    async def query(self, text: str, tokens: int) -> bytes:
        """Return the vector of a query of about ``tokens`` tokens."""
        return (await self._embed(self._queries, [text], [tokens]))[0]

    async def documents(self, texts: Iterable[str], tokens: Iterable[int]) -> list[bytes]:
        """Return the vectors of passages; ``tokens`` says how long each is."""
        return await self._embed(self._documents, list(texts), list(tokens))

    def close(self) -> None:
        """Take nothing more and refuse what waits; the batch under way is finished."""
        self._closed = True
        error = RemoteError(ErrorCode.DRAINING, "the embedder is ending")
        self._queries.fail_all(error)
        self._documents.fail_all(error)
        self._arrived.set()

    async def _embed(self, lane: _Lane, texts: list[str], tokens: list[int]) -> list[bytes]:
        if self._closed:
            raise RemoteError(ErrorCode.DRAINING, "the embedder is ending")
        if not texts:
            return []
        job = _Job(texts, tokens, asyncio.get_running_loop().create_future())
        lane.add(job)
        self._arrived.set()
        return await job.future

    async def _work(self) -> None:
        while not self._closed:
            for lane in (self._queries, self._documents):
                if run := lane.next_run():
                    await self._embed_run(lane.embed, run)
                    break
            else:
                self._arrived.clear()
                await self._arrived.wait()

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
