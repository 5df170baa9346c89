"""An engine that answers nobody is killed and comes back; one that is only busy is left alone."""

from __future__ import annotations

import asyncio
import math
import os
import resource
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from engine.address import listen
from engine.catalogue.lifecycle import HIBERNATE, Idleness
from engine.catalogue.memory import CREATE, MemoryCreate
from engine.catalogue.statistics import STATS, MemoryStats
from engine.folder import FolderLock
from engine.layout import tenant_folder
from engine.protocol import ErrorCode, Hello, RemoteError, Request
from engine.protocol.processes import EngineProcess
from engine.service import Methods, Service
from tenants.host.pool import Pool
from tenants.host.running_engine import RunningEngine
from tenants.host.suspicion import Reach, reach_out
from tests.service import wait_until
from tests.tenants.conftest import OTHER, TENANT, Node
from tests.tenants.pooling import ask, eventually, running_pool


async def _stopped(node: Node, pool: Pool) -> int:
    """Start the tenant's engine, have it store something, stop it in its tracks and return its number."""
    await ask(pool, TENANT, CREATE, MemoryCreate(content="acknowledged"))
    await eventually(lambda: _serves(pool))
    engine = node.engines()[TENANT]
    os.kill(engine, signal.SIGSTOP)
    return engine


def _serves(pool: Pool) -> bool:
    engine = pool.engine(TENANT)
    return engine is not None and engine.serving


async def test_a_hung_engine_is_killed_and_comes_back_with_what_it_acknowledged(fork_server: Node) -> None:
    async with running_pool(fork_server.folder, slack_s=0.5) as pool:
        hung = await _stopped(fork_server, pool)
        pool.suspect(TENANT, busy_s=0)
        await eventually(lambda: pool.suspicion.hung == 1)

        assert (await ask(pool, TENANT, STATS, MemoryStats())).memories == 1
        assert fork_server.engines()[TENANT] != hung


async def test_an_engine_that_is_busy_for_somebody_is_left_alone(fork_server: Node) -> None:
    """It greets nobody for longer than the slack, but no longer than somebody waits for it."""
    async with running_pool(fork_server.folder, slack_s=0.1) as pool:
        busy = await _stopped(fork_server, pool)
        for _ in range(3):
            pool.suspect(TENANT, busy_s=3600)
        await asyncio.sleep(0.5)
        os.kill(busy, signal.SIGCONT)

        assert (await ask(pool, TENANT, STATS, MemoryStats())).memories == 1
        await asyncio.sleep(0.5)
        assert fork_server.engines()[TENANT] == busy
        assert pool.suspicion.hung == 0


async def test_an_idle_engine_that_hangs_is_found_without_anybody_asking(fork_server: Node) -> None:
    async with running_pool(fork_server.folder, idle_s=0.1, slack_s=0.5, busy_s=0.1) as pool:
        await _stopped(fork_server, pool)
        await eventually(lambda: pool.suspicion.hung == 1)

        assert pool.hibernations == 0


async def test_an_engine_that_says_it_ends_and_does_not_is_ended(fork_server: Node) -> None:
    async with running_pool(fork_server.folder, ending_s=0.5) as pool:
        await _stopped(fork_server, pool)
        engine = pool.engine(TENANT)
        assert engine is not None
        engine.ending = True  # what it would have said is not to be had from one that is stopped
        pool.suspect(TENANT, busy_s=3600)
        await eventually(lambda: pool.suspicion.hung == 1)

        assert (await ask(pool, TENANT, STATS, MemoryStats())).memories == 1


async def test_one_that_does_not_serve_yet_is_taken_to_migrate(fork_server: Node) -> None:
    """Here the engine waits for the lock of its folder, which somebody else holds."""
    folder = tenant_folder(fork_server.folder, TENANT)
    folder.mkdir(parents=True)
    async with running_pool(fork_server.folder, slack_s=0.1) as pool:
        with FolderLock(folder, wait_s=0):
            await pool.ensure(TENANT)
            pool.suspect(TENANT, busy_s=0)
            await asyncio.sleep(0.5)
            assert not _serves(pool)

        assert (await ask(pool, TENANT, STATS, MemoryStats())).memories == 0
        assert (pool.starts, pool.suspicion.hung) == (1, 0)


async def test_the_router_tells_the_host_of_an_engine_that_gives_no_answer(node: Node) -> None:
    """The whole way with the real patience of 20 s: gateway's router, host, fork server. Others notice nothing."""
    async with node.router() as router:
        await router.call(TENANT, CREATE, MemoryCreate(content="acknowledged"))
        hung = psutil.Process(node.engines()[TENANT])
        hung.suspend()
        with pytest.raises(RemoteError) as error:
            await router.call(TENANT, STATS, MemoryStats(), deadline_ms=200)
        await router.call(OTHER, CREATE, MemoryCreate(content="unharmed"))
        await asyncio.to_thread(wait_until, lambda: not hung.is_running(), 90)

        assert error.value.code == ErrorCode.UNAVAILABLE
        assert error.value.details["retry_after"] >= 1
        assert (await router.call(TENANT, STATS, MemoryStats())).memories == 1
    status = await node.status()
    assert (status.hung_total, status.crashes_total, status.engines) == (1, 1, 2)


async def test_engines_that_lost_the_folder_of_their_sockets_end_in_order_and_come_back(node: Node) -> None:
    async with node.router() as router:
        await router.call(TENANT, CREATE, MemoryCreate(content="acknowledged"))
    shutil.rmtree(node.folder / "run" / "engines")
    async with node.router() as router:
        assert (await router.call(TENANT, STATS, MemoryStats())).memories == 1
        await router.call(OTHER, CREATE, MemoryCreate(content="another"))
    status = await node.status()
    assert (status.hung_total, status.crashes_total) == (0, 0)


async def test_a_fork_server_that_hangs_is_asked_anew_when_it_goes_on(node: Node) -> None:
    async with node.router() as router:
        await router.call(TENANT, CREATE, MemoryCreate(content="acknowledged"))
        os.kill(node.pid("engine.fork_server"), signal.SIGSTOP)
        with pytest.raises(RemoteError) as error:
            await router.call(OTHER, STATS, MemoryStats())
        assert (await router.call(TENANT, STATS, MemoryStats())).memories == 1
        os.kill(node.pid("engine.fork_server"), signal.SIGCONT)
        await eventually(lambda: _answers(node))

        assert error.value.code in (ErrorCode.UNAVAILABLE, ErrorCode.DEADLINE_EXCEEDED)
        await router.call(OTHER, CREATE, MemoryCreate(content="another"))


async def _answers(node: Node) -> bool:
    return (await node.status()).fork_server


async def test_what_is_our_own_fault_speaks_against_no_engine(tmp_path: Path) -> None:
    """Here we have no descriptor left to connect with."""
    path = tmp_path / "engine.sock"
    async with Service(Methods({}), listen(path), hello=lambda: Hello(service="engine")):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            without = await reach_out(path, 1.0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        assert without is Reach.UNKNOWN
        assert await reach_out(path, 30.0) is Reach.GREETED
    assert await reach_out(path, 1.0) is Reach.NOBODY
    with listen(path):
        assert await reach_out(path, 0.1) is Reach.SILENT


@pytest.mark.parametrize("idle_s", [math.nan, math.inf, -1.0])
async def test_what_makes_no_sense_counts_as_no_answer(tmp_path: Path, idle_s: float) -> None:
    async def hibernate(request: Request) -> Idleness:
        return Idleness(hibernating=False, idle_s=idle_s)

    path = tmp_path / "engine.sock"
    async with Service(Methods({HIBERNATE.name: hibernate}), listen(path), hello=lambda: Hello(service="engine")):
        engine = RunningEngine(EngineProcess(TENANT, 1, 0.0, serving=True), path, idle_s=1.0)

        assert await engine.ask_to_end(1.0) is None
        assert not engine.is_going
