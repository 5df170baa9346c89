"""A tenant that another node has taken is served here no more, until it is released."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from engine.catalogue.lifecycle import DUE_FILE
from engine.catalogue.memory import CREATE, LIST, MemoryCreate, MemoryList
from engine.catalogue.statistics import STATS, MemoryStats
from engine.layout import tenant_folder
from engine.link import Link
from engine.protocol import ErrorCode, RemoteError
from tenants.host import gate
from tenants.host.handover import Handover
from tenants.host.pool import Pool
from tenants.messages.host import Held, Hold, Release
from tenants.router import Router
from tests.service import wait_until
from tests.tenants.conftest import OTHER, TENANT, Node
from tests.tenants.pooling import ask, eventually, running_pool


@asynccontextmanager
async def host_of(node: Node) -> AsyncIterator[Link]:
    async with Link(node.folder / "run" / "host.sock") as host:
        yield host


async def hold(host: Link, tenant: str) -> None:
    await host.call("hold", Hold(tenant, "fenced"), result_type=Held)


async def release(host: Link, tenant: str) -> None:
    await host.call("release", Release(tenant), result_type=Held)


async def assert_moved(router: Router, tenant: str) -> None:
    with pytest.raises(RemoteError) as error:
        await router.call(tenant, STATS, MemoryStats())
    assert error.value.code == ErrorCode.MOVED
    assert error.value.details["retry_after"] >= 1


async def contents(router: Router, tenant: str) -> list[str]:
    return [memory.content for memory in (await router.call(tenant, LIST, MemoryList())).memories]


async def test_a_held_tenants_engine_ends_in_order_and_starts_no_more(node: Node) -> None:
    async with node.router() as router, host_of(node) as host:
        await router.call(TENANT, CREATE, MemoryCreate(content="kept"))
        await router.call(OTHER, CREATE, MemoryCreate(content="unharmed"))
        await hold(host, TENANT)
        await hold(host, TENANT)  # the replicator repeats it

        assert list(node.engines()) == [OTHER]
        assert (tenant_folder(node.folder, TENANT) / DUE_FILE).exists()
        await assert_moved(router, TENANT)
        assert await contents(router, OTHER) == ["unharmed"]
        status = await node.status()
        assert (status.held, status.crashes_total) == (1, 0)
        await release(host, TENANT)

        assert await contents(router, TENANT) == ["kept"]
        assert (await node.status()).held == 0


async def test_one_that_does_not_end_is_killed(fork_server: Node) -> None:
    async with running_pool(fork_server.folder, kill_after_s=0.5) as pool:
        await ask(pool, TENANT, CREATE, MemoryCreate(content="kept"))
        os.kill(fork_server.engines()[TENANT], signal.SIGSTOP)
        handover = Handover(pool, fork_server.folder)
        await handover.hold(TENANT, "fenced")

        assert not fork_server.engines()
        with pytest.raises(RemoteError) as error:
            await pool.ensure(TENANT)
        assert error.value.code == ErrorCode.MOVED
        handover.release(TENANT)
        assert (await ask(pool, TENANT, STATS, MemoryStats())).memories == 1


async def test_a_tenant_that_sleeps_is_held_as_well_and_not_woken(sleepy_node: Node) -> None:
    node = sleepy_node
    async with node.router() as router, host_of(node) as host:
        await router.call(TENANT, CREATE, MemoryCreate(content="kept"))
        await asyncio.to_thread(wait_until, lambda: not node.engines())
        (tenant_folder(node.folder, TENANT) / DUE_FILE).unlink()
        await hold(host, TENANT)
        node.stop("engine.fork_server")
        node.start("engine.fork_server")
        await assert_moved(router, TENANT)
        await asyncio.sleep(1.0)  # in which one that has left no word would be woken

        assert not node.engines()


async def test_a_host_that_starts_again_serves_until_it_is_told_again(node: Node) -> None:
    async with node.router() as router, host_of(node) as host:
        await hold(host, TENANT)
        await assert_moved(router, TENANT)
        node.stop("tenants.host.main", signal.SIGKILL)
        node.start("tenants.host.main")
        await router.call(TENANT, STATS, MemoryStats())
        await hold(host, TENANT)
        await assert_moved(router, TENANT)


async def test_what_was_never_held_can_be_released(node: Node) -> None:
    async with node.router() as router, host_of(node) as host:
        await release(host, TENANT)
        await router.call(TENANT, STATS, MemoryStats())


@pytest.mark.parametrize("tenant", ["../../etc", "", "db_" + "A" * 20])
async def test_what_is_no_tenants_name_is_held_by_nobody(node: Node, tenant: str) -> None:
    async with host_of(node) as host:
        for method, arguments in (("hold", Hold(tenant, "")), ("release", Release(tenant))):
            with pytest.raises(RemoteError) as error:
                await host.call(method, arguments, result_type=Held)
            assert error.value.code == ErrorCode.INVALID
    assert (await node.status()).held == 0


async def test_after_a_while_the_replicator_is_asked_whether_it_may_be_taken_again(
    fork_server: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_HELD_S", 0.2)
    async with running_pool(fork_server.folder) as pool:
        await pool.ensure(TENANT)
        await eventually(lambda: (engine := pool.engine(TENANT)) is not None and engine.serving)
        await Handover(pool, fork_server.folder).hold(TENANT, "fenced")
        assert pool.gate.held == 1
        await eventually(lambda: not is_held(pool))
        await pool.ensure(TENANT)
        await eventually(lambda: pool.gate.held == 0)


def is_held(pool: Pool) -> bool:
    try:
        pool.gate.check_held(TENANT)
    except RemoteError:
        return True
    return False
