"""Bulk writers take turns: few at once, each tenant alike, and not all of the time while others are at work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.catalogue import TOOLS, Tool
from engine.catalogue.batch import MemoryBatch, MemoryCreateBatch, MemoryDeleteBatch
from engine.catalogue.memory import MemoryCreate
from engine.catalogue.transfer import MemoryImport
from engine.protocol import ErrorCode, RemoteError
from gateway.bulk_budget import SHARE, TENANT_WAITING_MAX, WAITING_MAX, BulkBudget
from gateway.bulk_calls import CHARACTERS_AT_ONCE_MAX, TEXTS_AT_ONCE_MAX, is_bulk

FOREVER_S = 1000.0


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


class Writers:
    """Tasks that take turns and note in which order they got them."""

    def __init__(self, budget: BulkBudget, tasks: asyncio.TaskGroup) -> None:
        self._budget = budget
        self._tasks = tasks
        self._leave = asyncio.Semaphore(0)
        self.order: list[str] = []
        self.writing = 0

    def start(self, tenant: str, *, wait_s: float | None = None) -> asyncio.Task[None]:
        return self._tasks.create_task(self._write(tenant, wait_s))

    async def finish_one(self) -> None:
        """Have one that writes come to its end."""
        self._leave.release()
        await settle()

    async def _write(self, tenant: str, wait_s: float | None) -> None:
        async with self._budget.turn(tenant, wait_s=wait_s):
            self.order.append(tenant)
            self.writing += 1
            try:
                await self._leave.acquire()
            finally:
                self.writing -= 1


async def test_there_are_few_places_and_who_had_the_least_time_is_next() -> None:
    async with asyncio.TaskGroup() as tasks:
        writers = Writers(BulkBudget(places=2), tasks)
        for _ in range(6):
            writers.start("many")
        writers.start("few")
        await settle()
        assert writers.writing == 2
        while writers.writing:
            assert writers.writing <= 2
            await writers.finish_one()

    assert writers.order == ["many", "many", "few", "many", "many", "many", "many"]


async def test_alone_a_writer_never_rests() -> None:
    budget = BulkBudget(places=1)
    for _ in range(100):
        async with budget.turn("tenant"):
            pass
        free = asyncio.ensure_future(budget.turn("tenant").__aenter__())
        await settle()
        assert free.done()
        budget = BulkBudget(places=1)


async def test_while_others_are_at_work_bulk_writing_takes_its_share_at_most() -> None:
    budget = BulkBudget(places=1)
    turns, each_s = 5, 0.02
    async with budget.someone_else():
        begun = time.monotonic()
        for number in range(turns):
            async with budget.turn(str(number % 2)):
                time.sleep(each_s)
        async with budget.turn("last"):
            took = time.monotonic() - begun

    assert budget.seconds_total >= turns * each_s
    assert took >= 0.95 * turns * each_s / SHARE


async def test_a_tenant_with_many_batches_waiting_is_refused_and_no_other() -> None:
    async with asyncio.TaskGroup() as tasks:
        budget = BulkBudget(places=1)
        writers = Writers(budget, tasks)
        running = [writers.start("many", wait_s=FOREVER_S) for _ in range(1 + TENANT_WAITING_MAX)]
        await settle()

        with pytest.raises(RemoteError) as refused:
            await budget.turn("many", wait_s=FOREVER_S).__aenter__()
        assert refused.value.code == ErrorCode.TOO_MANY
        assert refused.value.details["retry_after"] > 0

        running.append(writers.start("other", wait_s=FOREVER_S))
        running += [writers.start("import") for _ in range(WAITING_MAX)]
        await settle()
        assert budget.waiting == TENANT_WAITING_MAX + 1 + WAITING_MAX
        with pytest.raises(RemoteError):
            await budget.turn("another", wait_s=FOREVER_S).__aenter__()
        for task in running:
            task.cancel()


async def test_who_waits_too_long_is_told_so_and_takes_no_place() -> None:
    budget = BulkBudget(places=1)
    async with budget.turn("tenant"):
        with pytest.raises(RemoteError) as late:
            await budget.turn("other", wait_s=0.0).__aenter__()
        assert late.value.code == ErrorCode.TOO_MANY
        assert budget.waiting == 0
    async with budget.turn("other", wait_s=FOREVER_S):
        pass


async def test_a_place_that_is_held_for_long_is_given_on_once() -> None:
    budget = BulkBudget(places=1, held_s_max=0.01)
    async with AsyncExitStack() as hung:
        await hung.enter_async_context(budget.turn("hung"))
        await hung.enter_async_context(budget.turn("hung too"))
        await hung.enter_async_context(budget.turn("third"))
    async with asyncio.TaskGroup() as tasks:
        writers = Writers(budget, tasks)
        writers.start("one")
        writers.start("other")
        await settle()
        assert writers.writing <= 1
        for _ in range(2):
            await writers.finish_one()


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["start", "finish", "cancel"])), max_size=60), st.integers(1, 3)
)
def test_no_place_is_lost_whoever_gives_up(steps: Sequence[tuple[str, str]], places: int) -> None:
    async def play() -> None:
        budget = BulkBudget(places=places)
        async with asyncio.TaskGroup() as tasks:
            writers = Writers(budget, tasks)
            running: list[asyncio.Task[None]] = []
            for tenant, step in steps:
                if step == "start":
                    running.append(writers.start(tenant))
                elif step == "finish":
                    await writers.finish_one()
                elif running:
                    running.pop(ord(tenant) % len(running)).cancel()
                    if tenant == "a":
                        continue  # the next step comes before it has noticed
                await settle()
                assert writers.writing <= places
                assert writers.writing == places or not budget.waiting
            for task in running:
                task.cancel()
        async with asyncio.TaskGroup() as tasks:
            writers = Writers(budget, tasks)
            running = [writers.start("last") for _ in range(places + 1)]
            await settle()
            assert writers.writing == places
            for task in running:
                task.cancel()

    asyncio.run(play())


def _tool(name: str) -> Tool[Any, Any]:
    return TOOLS[name]


def test_what_is_embedded_at_once_is_no_bulk_and_more_is() -> None:
    line = MemoryCreate(content="A line.")
    half = MemoryCreate(content="x" * (CHARACTERS_AT_ONCE_MAX // 2))
    most = TEXTS_AT_ONCE_MAX

    assert not is_bulk(_tool("memory_create"), MemoryCreate(content="x" * CHARACTERS_AT_ONCE_MAX))
    assert not is_bulk(_tool("memory_create_batch"), MemoryCreateBatch(memories=[line] * most))
    assert is_bulk(_tool("memory_create_batch"), MemoryCreateBatch(memories=[line] * (most + 1)))
    assert not is_bulk(_tool("memory_batch"), MemoryBatch(create=[half, half]))
    assert is_bulk(_tool("memory_batch"), MemoryBatch(create=[half, half, line]))
    assert is_bulk(_tool("memory_batch"), MemoryBatch(create=[line] * most, delete=[1]))
    assert is_bulk(_tool("memory_delete_batch"), MemoryDeleteBatch(ids=list(range(1, most + 2))))
    assert is_bulk(_tool("memory_import"), MemoryImport(data={}))
