"""Whose turn it is, and when to try again: fair, never twice at once, and prompt when the store is back."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.replica.backoff import CAP_S, FAILURES_IN_A_ROW, PROBE_CAP_S, Backoff, Breaker
from tenants.replica.shipping.turns import Turns


async def test_a_backlog_of_thousands_holds_up_nobodys_only_file() -> None:
    turns = Turns()
    left = {"busy": 5000, "other": 1}
    order = []
    turns.ask("busy")
    for number in range(10):
        if number == 5:
            turns.ask("other")
        tenant = await turns.next()
        order.append(tenant)
        left[tenant] -= 1
        turns.finished(tenant, again_in_s=0.0 if left[tenant] else None)

    assert order == ["busy"] * 6 + ["other"] + ["busy"] * 3


async def test_who_asks_during_its_turn_has_another_and_never_two_at_once() -> None:
    turns = Turns()
    turns.ask("a")
    assert await turns.next() == "a"
    turns.ask("a")
    turns.ask("b")

    assert await turns.next() == "b"
    turns.finished("a")
    assert await turns.next() == "a"
    turns.finished("a")
    turns.finished("b")
    await turns.nobody()


@pytest.mark.parametrize("comes", ["meanwhile", "later"])
async def test_who_waits_for_something_has_its_turn_when_that_comes(comes: str) -> None:
    turns = Turns()
    turns.ask("a")
    await turns.next()
    if comes == "meanwhile":
        turns.ask("a", at_once=True)
    turns.finished("a", again_in_s=3600.0)
    if comes == "later":
        turns.ask("a", at_once=True)

    async with asyncio.timeout(10):
        assert await turns.next() == "a"
    turns.finished("a")
    await turns.nobody()


async def test_who_is_to_wait_waits_whoever_asks_until_it_is_hurried() -> None:
    turns = Turns()
    turns.ask("a")
    turns.finished(await turns.next(), again_in_s=3600.0)
    turns.ask("a")
    turns.ask("b")
    assert await turns.next() == "b"
    turns.finished("b")
    turns.hurry()

    assert await turns.next() == "a"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["ask", "turn", "again", "later", "hurry"])), max_size=40))
def test_nobody_is_forgotten_or_served_twice_at_once(steps: list[tuple[str, str]]) -> None:
    async def play() -> None:
        turns = Turns()
        wanting: set[str] = set()
        for tenant, step in steps:
            if step == "ask":
                turns.ask(tenant)
                wanting.add(tenant)
            elif step == "hurry":
                turns.hurry()
            elif wanting:
                turns.hurry()
                served = await turns.next()
                assert served in wanting
                again = {"turn": None, "again": 0.0, "later": 3600.0}[step]
                turns.finished(served, again_in_s=again)
                if again is None:
                    wanting.remove(served)
        while wanting:
            turns.hurry()
            served = await turns.next()
            wanting.remove(served)
            turns.finished(served)
        await turns.nobody()

    asyncio.run(play())


@given(st.integers(min_value=0, max_value=10_000), st.floats(min_value=0, max_value=1))
def test_a_tenants_waits_grow_to_half_a_minute(failures: int, share: float) -> None:
    backoff = Backoff(lambda: share)
    backoff.failures = failures
    wait_s = backoff.next_s()

    assert min(CAP_S, 0.1 * 2.0 ** min(failures, 20)) / 2 <= wait_s <= CAP_S
    backoff.reset()
    assert backoff.next_s() <= 0.1


async def test_a_store_that_is_down_is_asked_once_for_all_and_everybody_goes_on_when_it_is_back() -> None:
    now = [0.0]
    breaker = Breaker(lambda: now[0], lambda: 1.0)
    for _ in range(FAILURES_IN_A_ROW):
        assert not breaker.is_open
        breaker.failed()
    assert breaker.is_open
    waiting = [asyncio.create_task(breaker.permission()) for _ in range(50)]
    now[0] = 1.0
    async with asyncio.timeout(30):
        done, still_waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)

    assert len(done) == 1
    breaker.succeeded()
    async with asyncio.timeout(30):
        await asyncio.gather(*still_waiting)


async def test_attempts_at_a_store_that_is_down_are_seldom_but_never_too_far_apart() -> None:
    now = [0.0]
    breaker = Breaker(lambda: now[0], random.Random(1).random)
    tries = []
    while now[0] < 600:
        asking = asyncio.create_task(breaker.permission())
        await asyncio.sleep(0)
        if asking.done():
            tries.append(now[0])
            breaker.failed()
            continue
        asking.cancel()
        now[0] += 0.1
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]

    assert max(pauses) <= PROBE_CAP_S + 0.2
    assert len(tries) <= 600 / PROBE_CAP_S * 2 + 20


@pytest.mark.parametrize("failures", [1, FAILURES_IN_A_ROW - 1])
async def test_a_few_failures_of_one_tenant_are_not_the_stores(failures: int) -> None:
    breaker = Breaker(lambda: 0.0)
    for _ in range(10):
        for _ in range(failures):
            breaker.failed()
        await breaker.permission()
        breaker.succeeded()

    assert breaker.failures == 10 * failures
