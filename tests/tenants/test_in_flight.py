"""What one tenant may have under way at once, and that waiting for an engine is part of a request's time."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.catalogue.memory import CREATE, MemoryCreate
from engine.catalogue.statistics import STATS, MemoryStats
from engine.folder import FolderLock
from engine.layout import tenant_folder
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.limits import IN_FLIGHT_MAX
from gateway.api.errors import from_remote
from tenants.in_flight import InFlight
from tests.tenants.conftest import OTHER, TENANT, Node


@given(
    steps=st.lists(
        st.one_of(st.tuples(st.sampled_from("ab"), st.floats(0, 100)), st.integers(0, 20)),
        max_size=60,
    )
)
def test_each_tenant_has_so_many_places_and_the_last_deadline_is_known(steps: list[tuple[str, float] | int]) -> None:
    """A step either takes a place until a deadline, or gives the place of that number back."""
    in_flight = InFlight(tenant_max=5)
    held: list[tuple[str, float, ExitStack]] = []
    for step in steps:
        if isinstance(step, int):
            if held:
                held.pop(step % len(held))[2].close()
        else:
            tenant, deadline = step
            stack = ExitStack()
            if sum(name == tenant for name, _, _ in held) == 5:
                with pytest.raises(RemoteError) as error:
                    stack.enter_context(in_flight.place(tenant, deadline))
                assert error.value.code == ErrorCode.TOO_MANY
                assert error.value.details["retry_after"] >= 1
            else:
                stack.enter_context(in_flight.place(tenant, deadline))
                held.append((tenant, deadline, stack))
        assert len(in_flight) == len(held)
        for tenant in "abc":
            assert in_flight.busy_until(tenant) == max([at for name, at, _ in held if name == tenant], default=0)
    for _, _, stack in held:
        stack.close()
    assert len(in_flight) == 0


async def test_a_tenant_with_too_much_under_way_is_refused_and_no_other(node: Node) -> None:
    async with node.router() as router:
        await router.call(TENANT, CREATE, MemoryCreate(content="first"))
        engine = node.engines()[TENANT]
        os.kill(engine, signal.SIGSTOP)
        waiting = [asyncio.ensure_future(router.call(TENANT, STATS, MemoryStats())) for _ in range(IN_FLIGHT_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(RemoteError) as error:
            await router.call(TENANT, STATS, MemoryStats())
        await router.call(OTHER, CREATE, MemoryCreate(content="unharmed"))
        os.kill(engine, signal.SIGCONT)

        assert [stats.memories for stats in await asyncio.gather(*waiting)] == [1] * IN_FLIGHT_MAX
        assert (await router.call(TENANT, STATS, MemoryStats())).memories == 1
    assert error.value.code == ErrorCode.TOO_MANY
    problem = from_remote(error.value)
    assert (problem.code, problem.headers["Retry-After"]) == ("rate_limited", "1")


async def test_waiting_for_an_engine_that_starts_counts_against_the_deadline(node: Node) -> None:
    folder = tenant_folder(node.folder, TENANT)
    folder.mkdir(parents=True)
    async with node.router() as router:
        with FolderLock(folder, wait_s=0), pytest.raises(RemoteError) as error:
            await router.call(TENANT, CREATE, MemoryCreate(content="too late"), deadline_ms=300)

        assert error.value.code == ErrorCode.DEADLINE_EXCEEDED
        assert (await router.call(TENANT, STATS, MemoryStats())).memories == 0
