"""Does the work of many requests on one thread of its own, in runs whose order ``schedule`` decides.

A run saves trips to the thread, and whatever comes meanwhile waits for it: so it is short. Queries go ahead of documents,
whichever model either is for, because a person waits for them. What its caller gave up on is dropped before its turn.

Nothing is remembered: a hit would tell one tenant what another has stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Self

import structlog

from engine.embedder.schedule import Schedule, Urgency
from engine.protocol import ErrorCode, RemoteError

RUN_TEXTS_MAX = 32

_log = structlog.get_logger()

Work = Callable[[list[str]], Sequence[Any]]
"""What runs on the thread: it returns one result per text, and takes each text by itself, whatever stands beside it."""


@dataclass(slots=True, eq=False)
class _Job:
    """One request: its texts, the results as they come, and who waits for them."""

    kind: Work
    texts: list[str]
    costs: list[int]
    future: asyncio.Future[list[Any]]
    results: dict[int, Any] = field(default_factory=dict)
    started: int = 0

    @property
    def waiting(self) -> int:
        return len(self.texts) - self.started

    @property
    def wanted(self) -> bool:
        return not self.future.done()

    def finish(self, index: int, result: Any) -> None:
        self.results[index] = result
        if len(self.results) == len(self.texts) and not self.future.done():
            self.future.set_result([self.results[position] for position in range(len(self.texts))])

    def fail(self, error: RemoteError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Queue:
    """What waits for one model. It may be closed by itself."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self._jobs: set[_Job] = set()
        self._refusal: RemoteError | None = None

    @property
    def queued(self) -> int:
        """Texts that wait."""
        return sum(job.waiting for job in self._jobs)

    async def run(
        self, work: Work, texts: Sequence[str], costs: Sequence[int], *, urgency: Urgency, lane: str = ""
    ) -> list[Any]:
        """Return what ``work`` makes of each text; ``costs`` says how much work each is, in any unit."""
        if self._refusal is not None:
            raise self._refusal
        if not texts:
            return []
        job = _Job(work, list(texts), list(costs), asyncio.get_running_loop().create_future())
        self._jobs.add(job)
        try:
            self._batcher.add(urgency, lane, job)
            return await job.future
        finally:
            self._jobs.discard(job)

    def close(self, refusal: RemoteError) -> None:
        """Take nothing more and refuse what waits; a run under way is finished."""
        self._refusal = refusal
        for job in self._jobs:
            if job.waiting:
                job.fail(refusal)


class Batcher:
    """One thread and all that waits for it. An async context manager; leaving it refuses what still waits."""

    def __init__(self, name: str, *, run_cost_max: int) -> None:
        """``run_cost_max`` bounds a run of several texts; a dearer text is a run by itself."""
        self.texts_total = 0
        self.runs_total = 0
        self.seconds_total = 0.0
        self._run_cost_max = run_cost_max
        self._schedule: Schedule[_Job] = Schedule()
        self._queues: set[Queue] = set()
        self._arrived = asyncio.Event()
        self._closed = False
        # One thread for all models: a second one would take turns by the clock, and a query could not go first.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
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
        """Texts that wait, whichever queue they are in."""
        return sum(queue.queued for queue in self._queues)

    def open(self) -> Queue:
        """Return a new queue."""
        queue = Queue(self)
        if self._closed:
            queue.close(_ending())
        self._queues.add(queue)
        return queue

    def remove(self, queue: Queue, refusal: RemoteError) -> None:
        """Use a queue no more; what waits in it is refused."""
        queue.close(refusal)
        self._queues.discard(queue)

    def close(self) -> None:
        """Take nothing more and refuse what waits; the run under way is finished."""
        self._closed = True
        for queue in self._queues:
            queue.close(_ending())
        self._arrived.set()

    def add(self, urgency: Urgency, lane: str, job: _Job) -> None:
        """Have a job wait for its turns."""
        self._schedule.add(urgency, lane, job)
        self._arrived.set()

    async def _work(self) -> None:
        while not self._closed:
            if run := self._schedule.take_run(cost_max=self._run_cost_max, pieces_max=RUN_TEXTS_MAX):
                for job, _ in run:
                    job.started += 1
                await self._do(run)
            else:
                self._arrived.clear()
                await self._arrived.wait()

    async def _do(self, run: list[tuple[_Job, int]]) -> None:
        work = run[0][0].kind
        began = perf_counter()
        try:
            texts = [job.texts[index] for job, index in run]
            results = await asyncio.get_running_loop().run_in_executor(self._thread, work, texts)
        except Exception:
            if len(run) > 1:  # one caller's text must not fail another's
                for entry in run:
                    await self._do([entry])
                return
            _log.exception("text_failed")
            run[0][0].fail(RemoteError(ErrorCode.INTERNAL, "the text could not be embedded"))
            return
        self.seconds_total += perf_counter() - began
        self.runs_total += 1
        self.texts_total += len(run)
        for (job, index), result in zip(run, results, strict=True):
            job.finish(index, result)


def _ending() -> RemoteError:
    return RemoteError(ErrorCode.DRAINING, "the embedder is ending")
