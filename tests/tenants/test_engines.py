"""Engines come when they are needed, one per tenant, and go when they are idle; killing any process loses nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from engine.address import connect
from engine.catalogue.memory import CREATE, GET, LIST, Memory, MemoryCreate, MemoryGet, MemoryList
from engine.catalogue.statistics import STATS, MemoryStats
from engine.layout import tenant_folder
from engine.protocol import ErrorCode, RemoteError
from tenants.router import Router
from tests.service import wait_until
from tests.tenants.conftest import OTHER, TENANT, Node


async def create(router: Router, tenant: str, content: str) -> Memory:
    memory: Memory = await router.call(tenant, CREATE, MemoryCreate(content=content))
    return memory


async def contents(router: Router, tenant: str) -> list[str]:
    page = await router.call(tenant, LIST, MemoryList(limit=500))
    return sorted(memory.content for memory in page.memories)


async def test_concurrent_first_requests_start_one_engine(node: Node) -> None:
    async with node.router() as one, node.router() as two:
        routers = [one, two] * 20
        await asyncio.gather(*(create(router, TENANT, f"memory {n}") for n, router in enumerate(routers)))

        assert len(await contents(one, TENANT)) == 40
    status = await node.status()
    assert (status.starts_total, status.engines) == (1, 1)


async def test_each_tenant_has_a_process_and_a_file_of_its_own(node: Node) -> None:
    async with node.router() as router:
        await create(router, TENANT, "of the first")
        await create(router, OTHER, "of the second")

        assert await contents(router, TENANT) == ["of the first"]
        assert await contents(router, OTHER) == ["of the second"]
        engines = node.engines()
    assert len(set(engines.values())) == 2
    for tenant, pid in engines.items():
        files = {Path(file.path).parent for file in psutil.Process(pid).open_files() if ".db" in file.path}
        assert files == {tenant_folder(node.folder, tenant)}


async def test_an_engine_inherits_no_environment_and_no_foreign_descriptor(node: Node) -> None:
    async with node.router() as router:
        await create(router, TENANT, "first")
        await create(router, OTHER, "second, forked while the first was running")
        engine = psutil.Process(node.engines()[OTHER])
        names = [str(link.readlink()) for link in Path(f"/proc/{engine.pid}/fd").iterdir()]

    assert not [name for name in names if TENANT in name]
    sockets = [name for name in names if name.startswith("socket:")]
    # Its listening socket, the router's connection, and the two ends of asyncio's own wake-up pair.
    assert len(sockets) == 4


async def test_a_killed_engine_comes_back_with_every_acknowledged_write(node: Node) -> None:
    async with node.router() as router:
        acknowledged = []
        for round_number in range(5):
            for number in range(10):
                acknowledged.append((await create(router, TENANT, f"{round_number}.{number}")).content)
            os.kill(node.engines()[TENANT], signal.SIGKILL)
            assert await contents(router, TENANT) == sorted(acknowledged)
    assert (await node.status()).crashes_total == 5


async def test_a_write_that_loses_its_engine_is_not_sent_again(node: Node) -> None:
    async with node.router() as router:
        await create(router, TENANT, "before")
        os.kill(node.engines()[TENANT], signal.SIGSTOP)
        write = asyncio.ensure_future(create(router, TENANT, "outcome unknown"))
        await asyncio.sleep(0.1)
        os.kill(node.engines()[TENANT], signal.SIGKILL)
        with pytest.raises(RemoteError) as error:
            await write

        assert error.value.code == ErrorCode.UNAVAILABLE
        assert error.value.details["retry_after"] >= 1
        assert await contents(router, TENANT) == ["before"]


async def test_a_read_that_loses_its_engine_is_asked_again(node: Node) -> None:
    async with node.router() as router:
        memory = await create(router, TENANT, "still there")
        os.kill(node.engines()[TENANT], signal.SIGSTOP)
        read = asyncio.ensure_future(router.call(TENANT, GET, MemoryGet(id=memory.id)))
        await asyncio.sleep(0.1)
        os.kill(node.engines()[TENANT], signal.SIGKILL)

        assert (await read).content == "still there"


async def test_idle_engines_hibernate_and_wake(sleepy_node: Node) -> None:
    node = sleepy_node
    async with node.router() as router:
        await create(router, TENANT, "dreamt")
        await asyncio.to_thread(wait_until, lambda: not node.engines())

        assert await contents(router, TENANT) == ["dreamt"]
    status = await node.status()
    assert status.hibernations_total >= 1
    assert status.crashes_total == 0


async def test_nothing_is_lost_while_engines_fall_asleep_under_load(sleepy_node: Node) -> None:
    """Requests keep arriving about when the engine decides to end; every one is carried out exactly once."""
    async with sleepy_node.router() as router:
        for number in range(25):
            await create(router, TENANT, f"memory {number:03}")
            await asyncio.sleep(0.13 + 0.013 * number)

        assert await contents(router, TENANT) == [f"memory {number:03}" for number in range(25)]
    assert (await sleepy_node.status()).hibernations_total >= 2


async def test_the_host_adopts_running_engines_after_its_own_death(node: Node) -> None:
    async with node.router() as router:
        await create(router, TENANT, "before")
        engines = node.engines()
        node.stop("tenants.host.main", signal.SIGKILL)
        await create(router, TENANT, "without a host")
        node.start("tenants.host.main")
    async with node.router() as router:
        assert await contents(router, TENANT) == ["before", "without a host"]
    assert node.engines() == engines


async def test_the_fork_servers_death_ends_its_engines_and_they_come_back(node: Node) -> None:
    async with node.router() as router:
        await create(router, TENANT, "before")
        engine = psutil.Process(node.engines()[TENANT])
        node.stop("engine.fork_server", signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: not engine.is_running())
        node.start("engine.fork_server")

        assert await contents(router, TENANT) == ["before"]


async def test_a_stopped_fork_server_drains_its_engines(node: Node) -> None:
    async with node.router() as router:
        await create(router, TENANT, "kept")
        engine = psutil.Process(node.engines()[TENANT])

        assert await asyncio.to_thread(node.stop, "engine.fork_server") == 0
        assert not engine.is_running()
        assert not (tenant_folder(node.folder, TENANT) / "memory.db-wal").exists()


async def test_without_a_fork_server_requests_are_refused_with_a_time_to_retry(node: Node) -> None:
    node.stop("engine.fork_server")
    async with node.router() as router:
        with pytest.raises(RemoteError) as error:
            await router.call(TENANT, STATS, MemoryStats())

    assert error.value.code == ErrorCode.UNAVAILABLE
    assert error.value.details["retry_after"] >= 1


async def test_an_engine_that_cannot_start_is_backed_off_for_its_tenant_alone(node: Node) -> None:
    folder = tenant_folder(node.folder, TENANT)
    (folder / "memory.db").mkdir(parents=True)  # where the file should be
    async with node.router() as router:
        with pytest.raises(RemoteError) as error:
            await router.call(TENANT, STATS, MemoryStats())
        await create(router, OTHER, "unharmed")

    assert error.value.code == ErrorCode.UNAVAILABLE
    assert error.value.details["retry_after"] >= 1
    assert (await node.status()).crashes_total == 3


@pytest.mark.parametrize("tenant", ["../../etc", "db_" + "a" * 19, "db_" + "A" * 20, "", "db_" + "a" * 20 + "/.."])
async def test_what_is_no_tenants_name_becomes_no_path(node: Node, tenant: str) -> None:
    async with node.router() as router:
        with pytest.raises(RemoteError) as error:
            await router.call(tenant, STATS, MemoryStats())

    assert error.value.code == ErrorCode.INVALID
    assert not list((node.folder / "tenants").glob("**/*")) if (node.folder / "tenants").exists() else True


async def test_the_fork_server_survives_garbage(node: Node) -> None:
    for garbage in (b"\xff" * 100, b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x02{}"):
        with connect(node.folder / "run" / "fork.sock") as rogue:
            rogue.setblocking(True)
            rogue.sendall(garbage)
    async with node.router() as router:
        await create(router, TENANT, "served")
