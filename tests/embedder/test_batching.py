"""Requests share runs, queries go first, and nobody waits for what nobody wants.

The model is the real one behind a gate: while the gate is closed the first run is under way and everything else queues,
so that what is in the next run does not depend on the clock.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from engine.embedder.batch import RUN_TEXTS_MAX, Batcher, Queue
from engine.embedder.model import Model
from engine.embedder.schedule import Urgency
from engine.protocol import ErrorCode, RemoteError


class GatedModel:
    """The real model, which waits at a gate and notes what it was given."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.runs: list[list[str]] = []

    def embed_documents(self, texts: list[str]) -> list[bytes]:
        return self._embed(self._model.embed_documents, texts)

    def embed_query(self, texts: list[str]) -> list[bytes]:
        return self._embed(self._model.embed_query, texts)

    def _embed(self, embed: Callable[[list[str]], list[bytes]], texts: list[str]) -> list[bytes]:
        self.entered.set()
        assert self.gate.wait(60)
        self.runs.append(texts)
        if "bad" in texts:
            raise ValueError("a text that the model cannot take")
        return embed(texts)


RUN_COST_MAX = 512


@pytest.fixture
def gated(model: Model) -> GatedModel:
    return GatedModel(model)


def new_batcher() -> Batcher:
    return Batcher("model", run_cost_max=RUN_COST_MAX)


class Requests:
    """Asks for embeddings in one queue."""

    def __init__(self, queue: Queue, gated: GatedModel) -> None:
        self._queue = queue
        self._gated = gated

    async def query(self, text: str, cost: int) -> bytes:
        (vector,) = await self._queue.run(self._gated.embed_query, [text], [cost], urgency=Urgency.QUERY)
        return vector  # type: ignore[no-any-return]

    async def documents(self, texts: list[str], costs: list[int], lane: str = "") -> list[bytes]:
        return await self._queue.run(self._gated.embed_documents, texts, costs, urgency=Urgency.DOCUMENT, lane=lane)


async def occupy(tasks: asyncio.TaskGroup, queue: Requests, gated: GatedModel) -> None:
    """Have the model busy with a first query."""
    tasks.create_task(queue.query("first", 1))
    await asyncio.to_thread(gated.entered.wait)


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_concurrent_queries_share_a_run_and_go_ahead_of_documents(gated: GatedModel) -> None:
    async with new_batcher() as batcher, asyncio.TaskGroup() as tasks:
        queue = Requests(batcher.open(), gated)
        await occupy(tasks, queue, gated)
        tasks.create_task(queue.documents(["a document"], [2]))
        for number in range(3):
            tasks.create_task(queue.query(f"query {number}", 2))
        await settle()
        assert batcher.queued == 4
        gated.gate.set()

    assert gated.runs == [["first"], ["query 0", "query 1", "query 2"], ["a document"]]
    assert (batcher.texts_total, batcher.runs_total, batcher.queued) == (5, 3, 0)


async def test_queries_of_any_model_go_first_and_a_run_is_of_one_model(gated: GatedModel, model: Model) -> None:
    other_gated = GatedModel(model)
    other_gated.gate.set()
    async with new_batcher() as batcher, asyncio.TaskGroup() as tasks:
        one, other = Requests(batcher.open(), gated), Requests(batcher.open(), other_gated)
        await occupy(tasks, one, gated)
        for name in ("a", "b"):
            tasks.create_task(one.documents([f"document {name}"], [2], lane="one"))
            tasks.create_task(other.documents([f"document {name}"], [2], lane="other"))
        tasks.create_task(other.query("query", 2))
        tasks.create_task(one.query("query", 2))
        await settle()
        gated.gate.set()

    documents = [["document a", "document b"]], [["document a"], ["document b"]]
    for runs, first in ((gated.runs, ["first"]), (other_gated.runs, None)):
        assert runs[: 2 if first else 1] == [*([first] if first else []), ["query"]]
        assert runs[2 if first else 1 :] in documents


async def test_a_model_that_is_let_go_refuses_what_waits_for_it_and_no_other(gated: GatedModel) -> None:
    async with new_batcher() as batcher, asyncio.TaskGroup() as tasks:
        of_kept, of_gone = batcher.open(), batcher.open()
        kept, gone = Requests(of_kept, gated), Requests(of_gone, gated)
        await occupy(tasks, kept, gated)
        refused = asyncio.gather(gone.query("refused", 1), return_exceptions=True)
        waiting = tasks.create_task(kept.query("kept", 1))
        await settle()
        refusal = RemoteError(ErrorCode.UNAVAILABLE, "gone")
        batcher.remove(of_gone, refusal)
        gated.gate.set()

        assert await refused == [refusal]
        assert len(await waiting) == 384 * 4
        with pytest.raises(RemoteError):
            await gone.query("late", 1)


async def test_each_caller_gets_its_own_vectors_in_its_own_order(gated: GatedModel, model: Model) -> None:
    async with new_batcher() as batcher, asyncio.TaskGroup() as tasks:
        queue = Requests(batcher.open(), gated)
        await occupy(tasks, queue, gated)
        texts = [[f"{name} {'word ' * (7 - number)}" for number in range(5)] for name in ("red", "green")]
        answers = [tasks.create_task(queue.documents(one, [9 - number for number in range(5)])) for one in texts]
        await settle()
        gated.gate.set()

    import numpy as np

    for one, answer in zip(texts, answers, strict=True):
        for text, vector in zip(one, answer.result(), strict=True):
            alone = np.frombuffer(model.embed_documents([text])[0], "<f4")
            assert alone @ np.frombuffer(vector, "<f4") > 0.98


async def test_a_run_is_bounded_and_a_short_document_waits_for_no_long_one(gated: GatedModel) -> None:
    async with new_batcher() as batcher, asyncio.TaskGroup() as tasks:
        queue = Requests(batcher.open(), gated)
        await occupy(tasks, queue, gated)
        long = [(f"long {number}", 200) for number in range(6)]
        tasks.create_task(queue.documents([text for text, _ in long], [tokens for _, tokens in long], lane="long"))
        tasks.create_task(queue.documents(["short"], [3], lane="short"))
        tasks.create_task(queue.documents([f"tiny {number}" for number in range(40)], [1] * 40, lane="tiny"))
        await settle()
        gated.gate.set()

    tokens = dict(long) | {"short": 3} | {f"tiny {number}": 1 for number in range(40)}
    for run in gated.runs[1:]:
        assert len(run) <= RUN_TEXTS_MAX
        assert sum(tokens[text] for text in run) <= RUN_COST_MAX
    assert "short" in gated.runs[1]
    assert sorted(tokens) == sorted(text for run in gated.runs[1:] for text in run)


async def test_a_request_given_up_is_never_embedded(gated: GatedModel) -> None:
    async with new_batcher() as batcher, asyncio.TaskGroup() as tasks:
        queue = Requests(batcher.open(), gated)
        await occupy(tasks, queue, gated)
        given_up = [
            tasks.create_task(queue.query("cancelled query", 2)),
            tasks.create_task(queue.documents([f"cancelled {number}" for number in range(50)], [2] * 50)),
        ]
        kept = tasks.create_task(queue.documents(["kept"], [1]))
        await settle()
        for task in given_up:
            task.cancel()
        await settle()
        gated.gate.set()
        await kept

    assert gated.runs == [["first"], ["kept"]]
    assert batcher.queued == 0


async def test_a_text_the_model_cannot_take_fails_alone(gated: GatedModel) -> None:
    async with new_batcher() as batcher, asyncio.TaskGroup() as tasks:
        queue = Requests(batcher.open(), gated)
        await occupy(tasks, queue, gated)
        good = tasks.create_task(queue.query("good", 1))
        bad = asyncio.gather(queue.query("bad", 1), return_exceptions=True)
        await settle()
        gated.gate.set()
        (failure,) = await bad
        assert len(await good) == 384 * 4

    assert isinstance(failure, RemoteError)
    assert failure.code == ErrorCode.INTERNAL


async def test_ending_refuses_what_waits_and_finishes_what_is_under_way(gated: GatedModel) -> None:
    async with new_batcher() as batcher:
        queue = Requests(batcher.open(), gated)
        under_way = asyncio.gather(queue.query("first", 1))
        await asyncio.to_thread(gated.entered.wait)
        waiting = asyncio.gather(queue.query("waits", 1), return_exceptions=True)
        await settle()
        batcher.close()
        gated.gate.set()
        (refusal,) = await waiting
        await under_way

    assert isinstance(refusal, RemoteError)
    assert refusal.code == ErrorCode.DRAINING
    with pytest.raises(RemoteError):
        await queue.query("late", 1)
