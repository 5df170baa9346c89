"""Databases are brought back while the store has a bad day, and whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path

import pytest

from engine.protocol import ErrorCode, RemoteError
from tenants.router import Router
from tests.tenants.replica.fault_proxy import Fault, FaultProxy
from tests.tenants.replicated_node import clients, contents, create, replicated_node, restore, shipped

PATIENCE_S = 120


async def brought_back(router: Router) -> set[str]:
    """Ask as often as a client would that does as it is told."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await contents(router)
            except RemoteError as error:
                assert error.code in (ErrorCode.UNAVAILABLE, ErrorCode.DEADLINE_EXCEEDED), error
                assert error.details["retry_after"] >= 1
                await asyncio.sleep(0.2)


async def filled(folder: Path, url: str, count: int = 3) -> set[str]:
    """Run a node that stores some memories, each captured by itself, and end it."""
    with replicated_node(folder, url) as node:
        async with clients(node) as (router, replica):
            for number in range(count):
                await create(router, f"memory {number}")
                await shipped(router, replica)
    return {f"memory {number}" for number in range(count)}


async def test_without_the_store_a_database_on_the_disk_is_served_and_one_that_is_not_there_is_waited_for(
    tmp_path: Path, proxy: FaultProxy, proxied_url: str
) -> None:
    expected = await filled(tmp_path / "data", proxied_url)
    shutil.copytree(tmp_path / "data", tmp_path / "empty", ignore=lambda *_: {"tenants", "run"})
    with replicated_node(tmp_path / "data", proxied_url) as node:
        async with clients(node) as (router, _):
            proxy.down()
            assert await brought_back(router) == expected
            await create(router, "during the outage")
            proxy.up()
            expected.add("during the outage")

    with replicated_node(tmp_path / "empty", proxied_url) as node:
        async with clients(node) as (router, _):
            proxy.down()
            with pytest.raises(RemoteError) as error:
                await contents(router)
            assert error.value.code == ErrorCode.UNAVAILABLE
            assert error.value.details["retry_after"] >= 1
            proxy.up()

            assert await brought_back(router) == expected


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.TRUNCATED, Fault.RESET, Fault.INTERNAL])
async def test_a_store_that_falters_delays_it_and_no_more(
    tmp_path: Path, proxy: FaultProxy, proxied_url: str, fault: Fault
) -> None:
    expected = await filled(tmp_path / "data", proxied_url)
    proxy.plan(fault, method="GET", containing=".ltx", times=1 if fault is Fault.SILENT else 2)
    with replicated_node(tmp_path / "empty", proxied_url) as node:
        async with clients(node) as (router, _):
            assert await brought_back(router) == expected
        assert node.log().count('"restored_database_adopted"') == 1


@pytest.mark.parametrize("who", ["tenants.replica.main", "tenants.host.main", "engine.fork_server"])
async def test_whoever_is_killed_while_it_is_brought_back_it_comes_back(tmp_path: Path, s3_url: str, who: str) -> None:
    expected = await filled(tmp_path / "data", s3_url)
    for number in range(3):
        with replicated_node(tmp_path / f"empty-{number}", s3_url) as node:
            async with clients(node) as (router, _):
                asking = asyncio.ensure_future(brought_back(router))
                await asyncio.sleep(0.1 * number)
                node.stop(who, signal.SIGKILL)
                node.start(who)

                assert await asking == expected


async def test_a_killed_replicator_leaves_the_database_as_it_was(tmp_path: Path, s3_url: str) -> None:
    with replicated_node(tmp_path / "data", s3_url) as node:
        async with clients(node) as (router, replica):
            await create(router, "one")
            at_ms = await shipped(router, replica)
            await create(router, "two")
            for number in range(4):
                restoring = asyncio.ensure_future(restore(replica, at_ms, "in_place"))
                await asyncio.sleep(0.05 * number)
                node.stop("tenants.replica.main", signal.SIGKILL)
                node.start("tenants.replica.main")
                await asyncio.gather(restoring, return_exceptions=True)
                assert await brought_back(router) in ({"one"}, {"one", "two"})

            await restore(replica, at_ms, "in_place")
            assert await contents(router) == {"one"}
