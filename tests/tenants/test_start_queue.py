"""Few engines start at once, a bounded number waits, in the order in which they came, and nobody has two places."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.protocol import ErrorCode, RemoteError
from tenants.host.starts import Places, QueueFull, StartQueue

SLOTS = 2
WAITING_MAX = 3
TENANTS = [f"tenant {number}" for number in range(8)]


class PlacesMachine(RuleBasedStateMachine):
    """Compared with two lists that are kept in the obvious way."""

    def __init__(self) -> None:
        super().__init__()
        self.places = Places(slots=SLOTS, waiting_max=WAITING_MAX)
        self.starting: list[str] = []
        self.waiting: list[str] = []

    @rule(tenant=st.sampled_from(TENANTS))
    def ask(self, tenant: str) -> None:
        if tenant in self.starting or tenant in self.waiting:
            assert self.places.ask(tenant) == (tenant in self.starting)
        elif len(self.starting) < SLOTS:
            assert self.places.ask(tenant)
            self.starting.append(tenant)
        elif len(self.waiting) < WAITING_MAX:
            assert not self.places.ask(tenant)
            self.waiting.append(tenant)
        else:
            with pytest.raises(QueueFull):
                self.places.ask(tenant)

    @precondition(lambda self: self.starting or self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        tenant = data.draw(st.sampled_from(self.starting + self.waiting + TENANTS[:1]))
        for places in (self.starting, self.waiting):
            if tenant in places:
                places.remove(tenant)
        begin = [self.waiting.pop(0) for _ in range(min(len(self.waiting), SLOTS - len(self.starting)))]
        self.starting += begin

        assert self.places.leave(tenant) == begin

    @invariant()
    def both_agree(self) -> None:
        assert self.places.starting == set(self.starting)
        assert list(self.places.waiting) == self.waiting
        assert not self.waiting or len(self.starting) == SLOTS  # nobody waits beside a free place


TestPlaces = PlacesMachine.TestCase
TestPlaces.settings = settings(max_examples=100, stateful_step_count=40)


async def test_a_place_is_passed_on_when_the_engine_serves() -> None:
    queue = StartQueue(slots=1)
    await queue.enter("first")
    second = asyncio.ensure_future(queue.enter("second"))
    await asyncio.sleep(0)
    assert (queue.starting, queue.waiting) == (1, 1)

    queue.leave("first")
    await second
    assert (queue.starting, queue.waiting) == (1, 0)
    queue.leave("second")
    queue.leave("second")
    assert (queue.starting, queue.waiting) == (0, 0)


async def test_one_that_starts_slowly_gives_its_place_up() -> None:
    queue = StartQueue(slots=1, slow_start_s=0.01)
    await queue.enter("migrates")
    queue.forked("migrates")

    await queue.enter("next")
    assert queue.starting == 1


async def test_a_waiter_that_gives_up_leaves_no_place_taken() -> None:
    queue = StartQueue(slots=1)
    await queue.enter("first")
    second, third = (asyncio.ensure_future(queue.enter(tenant)) for tenant in ("second", "third"))
    await asyncio.sleep(0)
    queue.leave("first")  # the second's turn has come, and before it knows it is cancelled
    second.cancel()

    await third
    assert (queue.starting, queue.waiting) == (1, 0)
    assert second.cancelled()


async def test_over_the_bound_one_is_told_when_to_come_back() -> None:
    queue = StartQueue(slots=1)
    await queue.enter("first")
    waiting = []
    with pytest.raises(RemoteError) as error:
        for number in range(1000):
            waiting.append(asyncio.ensure_future(queue.enter(f"waits {number}")))
            await asyncio.sleep(0)
            if waiting[-1].done():
                await waiting.pop()

    assert error.value.code == ErrorCode.UNAVAILABLE
    assert error.value.details["retry_after"] >= 1
    assert queue.waiting == len(waiting) > 0
    assert queue.refused == 1
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert queue.waiting == 0
