"""A restored database takes the place of a tenant's own while requests wait; whatever is killed meanwhile, one of the two is
served in the end."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from engine.catalogue.lifecycle import QUARANTINE_FILE
from engine.catalogue.memory import CREATE, LIST, MemoryCreate, MemoryList
from engine.catalogue.recovery import FLUSH, PREVIEW_DATABASE, RESTORE_PREVIEW, Flush, RestorePreview
from engine.catalogue.statistics import STATS, MemoryStats
from engine.layout import tenant_folder
from engine.link import Link
from engine.protocol import ErrorCode, RemoteError
from engine.store.connection import preload
from tenants.messages.host import Lend, Lent, Replace, Replaced
from tenants.router import Router
from tests.engine.restoring import position
from tests.service import wait_until
from tests.tenants.conftest import OTHER, TENANT, Node
from tests.tenants.staged import stage_memories

REPLACE_MS = 120_000


@pytest.fixture(autouse=True, scope="module")
def _extensions() -> None:
    preload()


@asynccontextmanager
async def host_of(node: Node) -> AsyncIterator[Link]:
    async with Link(node.folder / "run" / "host.sock") as host:
        yield host


async def replace(host: Link, tenant: str, staged: str) -> Replaced:
    return await host.call("replace", Replace(tenant, staged), result_type=Replaced, deadline_ms=REPLACE_MS)


async def create(router: Router, content: str, tenant: str = TENANT) -> None:
    await router.call(tenant, CREATE, MemoryCreate(content=content))


async def contents(router: Router, tenant: str = TENANT) -> set[str]:
    return {memory.content for memory in (await router.call(tenant, LIST, MemoryList(limit=500))).memories}


async def gone(node: Node) -> None:
    await asyncio.to_thread(wait_until, lambda: TENANT not in node.engines())


async def test_requests_wait_while_a_database_is_replaced(node: Node) -> None:
    stop = asyncio.Event()
    seen: set[frozenset[str]] = set()

    async def read_on(router: Router) -> None:
        while not stop.is_set():
            seen.add(frozenset(await contents(router)))

    async with node.router() as router, node.router() as another, host_of(node) as host:
        await create(router, "of today")
        name = stage_memories(node.folder, "earlier", "of yesterday", "of the day before")
        readers = [asyncio.ensure_future(read_on(each)) for each in (router, another, router)]
        replaced = await replace(host, TENANT, name)
        stop.set()
        await asyncio.gather(*readers)

        assert replaced.memories == 2
        assert seen <= {frozenset({"of today"}), frozenset({"of yesterday", "of the day before"})}
        assert await contents(router) == {"of yesterday", "of the day before"}
        await create(router, "goes on")
        assert await contents(router) == {"of yesterday", "of the day before", "goes on"}
    assert (await node.status()).crashes_total == 0
    assert not list((node.folder / "staging").iterdir())


async def test_what_was_captured_before_is_told(node: Node) -> None:
    async with node.router() as router, host_of(node) as host:
        await create(router, "of today")
        replaced = await replace(host, TENANT, stage_memories(node.folder, "earlier", "of yesterday"))
        await create(router, "afterwards")
        await router.call(TENANT, FLUSH, Flush())

    now = position(tenant_folder(node.folder, TENANT))
    assert now is not None
    assert 0 < replaced.captured_txid < now.txid
    assert 0 < replaced.captured_ms < now.timestamp_ms


async def test_a_sleeping_tenants_database_is_replaced(sleepy_node: Node) -> None:
    async with sleepy_node.router() as router, host_of(sleepy_node) as host:
        await create(router, "of today")
        await gone(sleepy_node)
        await replace(host, TENANT, stage_memories(sleepy_node.folder, "earlier", "of yesterday"))

        assert await contents(router) == {"of yesterday"}


async def test_a_fork_is_a_new_tenant(node: Node) -> None:
    async with node.router() as router, host_of(node) as host:
        await create(router, "of the source")
        replaced = await replace(host, OTHER, stage_memories(node.folder, "fork", "forked", kind="fork"))

        assert (replaced.memories, replaced.captured_txid) == (1, 0)
        assert await contents(router, OTHER) == {"forked"}
        assert await contents(router) == {"of the source"}


async def test_a_restore_ends_a_quarantine(node: Node) -> None:
    folder = tenant_folder(node.folder, TENANT)
    async with node.router() as router, host_of(node) as host:
        await create(router, "damaged")
        await asyncio.to_thread(node.stop, "engine.fork_server")
        (folder / "memory.db").write_bytes(b"something else entirely, and quite long" * 1000)
        node.start("engine.fork_server")
        with pytest.raises(RemoteError) as error:
            await contents(router)
        assert error.value.code == ErrorCode.DATABASE_CORRUPT
        assert (folder / QUARANTINE_FILE).exists()
        await replace(host, TENANT, stage_memories(node.folder, "earlier", "sound"))

        assert await contents(router) == {"sound"}
    assert (await node.status()).quarantined == 0


async def test_one_that_is_not_what_its_note_says_leaves_all_as_it_was(node: Node) -> None:
    async with node.router() as router, host_of(node) as host:
        await create(router, "of today")
        with pytest.raises(RemoteError) as error:
            await replace(host, TENANT, stage_memories(node.folder, "bad", "never", checksum=1))
        assert error.value.code == ErrorCode.INTERNAL

        assert await contents(router) == {"of today"}
        with pytest.raises(RemoteError) as error:
            await replace(host, OTHER, stage_memories(node.folder, "bad-fork", "never", kind="fork", checksum=1))
        assert error.value.code == ErrorCode.INTERNAL
        assert not (tenant_folder(node.folder, OTHER) / "memory.db").exists()


async def test_what_is_not_staged_replaces_nothing(node: Node) -> None:
    async with node.router() as router, host_of(node) as host:
        await create(router, "of today")
        with pytest.raises(RemoteError) as error:
            await replace(host, TENANT, "not-there")
        assert error.value.code == ErrorCode.UNAVAILABLE

        assert await contents(router) == {"of today"}


async def test_a_preview_is_lent_to_an_engine_that_runs_and_to_one_that_sleeps(sleepy_node: Node) -> None:
    node = sleepy_node
    async with node.router() as router, host_of(node) as host:
        await create(router, "of today")
        for name in ("awake", "asleep"):
            if name == "asleep":
                await gone(node)
            stage_memories(node.folder, name, "of yesterday", "and before")
            await host.call("lend", Lend(TENANT, name), result_type=Lent)
            report = await router.call(TENANT, RESTORE_PREVIEW, RestorePreview())

            assert (report.added + report.changed, report.deleted) == (2, 0)
        assert await contents(router) == {"of today"}
    assert not (tenant_folder(node.folder, TENANT) / PREVIEW_DATABASE).exists()


@pytest.mark.parametrize("who", ["tenants.host.main", "engine.fork_server", "engine"])
async def test_whoever_is_killed_meanwhile_one_of_the_two_is_served(node: Node, who: str) -> None:
    """At any moment: before the engine has ended, between, and while it takes the other one in."""
    chance = random.Random(who)
    async with node.router() as router:
        served = {"round 0"}
        await create(router, "round 0")
        for number in range(1, 7):
            restored = {f"restored {number}", f"and {number}"}
            stage_memories(node.folder, f"round-{number}", *restored)
            async with host_of(node) as host:
                replacing = asyncio.ensure_future(replace(host, TENANT, f"round-{number}"))
                await asyncio.sleep(chance.uniform(0.0, 0.25))
                kill(node, who)
                outcome = (await asyncio.gather(replacing, return_exceptions=True))[0]

            found = await eventually_contents(router)
            assert found in ([restored] if isinstance(outcome, Replaced) else [served, restored])
            assert isinstance(outcome, Replaced | RemoteError)
            served = found | {f"round {number}"}
            await create(router, f"round {number}")


def kill(node: Node, who: str) -> None:
    if who == "engine":
        for pid in node.engines().values():
            os.kill(pid, signal.SIGKILL)
    else:
        node.stop(who, signal.SIGKILL)
        node.start(who)


async def eventually_contents(router: Router) -> set[str]:
    """Ask until there is an answer: a crash-loop's pause is part of it."""
    for _ in range(60):
        try:
            return await contents(router)
        except RemoteError as error:
            assert error.code in (ErrorCode.UNAVAILABLE, ErrorCode.DEADLINE_EXCEEDED)
            await asyncio.sleep(0.5)
    raise AssertionError("it does not come back")


async def test_two_at_once_come_one_after_the_other(node: Node) -> None:
    async with node.router() as router, host_of(node) as host:
        await create(router, "of today")
        names = [stage_memories(node.folder, name, name) for name in ("first", "second")]
        await asyncio.gather(*(replace(host, TENANT, name) for name in names))

        assert await contents(router) in ({"first"}, {"second"})
        assert (await router.call(TENANT, STATS, MemoryStats())).memories == 1
