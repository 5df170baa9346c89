"""How long a tenant waits whose engine keeps dying: a rule for itself, with its own clock."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.catalogue.memory import CREATE, MemoryCreate
from engine.catalogue.statistics import STATS, MemoryStats
from engine.protocol import ErrorCode, RemoteError
from tenants.host.crashes import SERVED_CRASHES_MAX, WINDOW_S, Crashes
from tests.service import wait_until
from tests.tenants.conftest import OTHER, TENANT, Node


def test_who_never_serves_waits_twice_as_long_each_time() -> None:
    crashes = Crashes()
    waits = []
    for _ in range(9):
        crashes.crashed("a", 100.0, served=False)
        waits.append(crashes.wait_s("a", 100.0))

    assert waits == [0, 0, 1, 2, 4, 8, 16, 30, 30]
    assert crashes.wait_s("b", 100.0) == 0
    crashes.served("a")
    assert crashes.wait_s("a", 100.0) == 0
    assert len(crashes) == 0


@given(
    gaps=st.lists(st.floats(0, 10), max_size=120),
    impatience=st.floats(0, 1),
)
def test_who_serves_and_dies_is_started_so_often_a_minute_and_no_more(gaps: list[float], impatience: float) -> None:
    crashes = Crashes()
    now = 0.0
    starts = []
    for gap in gaps:
        now += gap * impatience + crashes.wait_s("a", now)
        assert crashes.wait_s("a", now) <= 1e-9  # whoever waits as long as he is told is let in
        starts.append(now)
        crashes.served("a")
        crashes.crashed("a", now, served=True)

    for first, one_too_many in zip(starts, starts[SERVED_CRASHES_MAX:], strict=False):
        assert one_too_many - first >= WINDOW_S - 1e-6


@given(
    crashes_at=st.lists(st.tuples(st.floats(0, 300), st.booleans()), max_size=60).map(sorted),
    now=st.floats(300, 400),
)
def test_nobody_waits_for_ever_and_nobody_is_remembered_for_ever(crashes_at: list[tuple[float, bool]], now: float) -> None:
    crashes = Crashes()
    for at, served in crashes_at:
        crashes.crashed("a", at, served=served)

    assert 0 <= crashes.wait_s("a", now) <= WINDOW_S
    crashes.served("a")
    assert crashes.wait_s("a", now + WINDOW_S) == 0
    assert len(crashes) == 0


async def test_an_engine_that_serves_and_dies_again_and_again_is_held_back_for_its_tenant_alone(node: Node) -> None:
    async with node.router() as router:

        async def die() -> None:
            await router.call(TENANT, STATS, MemoryStats())
            engine = node.engines()[TENANT]
            os.kill(engine, signal.SIGKILL)
            await asyncio.to_thread(wait_until, lambda: node.engines().get(TENANT) != engine)

        for _ in range(SERVED_CRASHES_MAX):
            await die()
        with pytest.raises(RemoteError) as error:
            await router.call(TENANT, STATS, MemoryStats())
        await router.call(OTHER, CREATE, MemoryCreate(content="unharmed"))

    assert (error.value.code, error.value.message) == (ErrorCode.UNAVAILABLE, "the engine keeps failing")
    assert 1 <= error.value.details["retry_after"] <= WINDOW_S
    assert (await node.status()).crashes_total == SERVED_CRASHES_MAX
