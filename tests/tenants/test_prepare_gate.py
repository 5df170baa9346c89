"""Before a tenant's first start the replicator is asked whether it may be served here, and from what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.catalogue.lifecycle import DUE_FILE
from engine.catalogue.memory import CREATE, LIST, MemoryCreate, MemoryList
from engine.catalogue.recovery import FLUSH, Flush
from engine.catalogue.statistics import STATS, MemoryStats
from engine.layout import tenant_folder
from engine.link import Link
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.errors import moved
from engine.store.connection import preload
from tenants.host.pool import Pool
from tenants.messages.replica import Prepared
from tests.service import wait_until
from tests.tenants.conftest import OTHER, TENANT, Node
from tests.tenants.pooling import ask, eventually, running_pool
from tests.tenants.scripted_replicator import replicator
from tests.tenants.staged import stage_memories

RESTORING = RemoteError(ErrorCode.UNAVAILABLE, "the database is being brought back", retry_after=2)


@pytest.fixture(autouse=True, scope="module")
def _extensions() -> None:
    preload()


@asynccontextmanager
async def gated_pool(node: Node) -> AsyncIterator[Pool]:
    async with Link(node.folder / "run" / "replica.sock") as replica, running_pool(node.folder, replica=replica) as pool:
        yield pool


def staged(node: Node, name: str, *contents: str, checksum: int | None = None) -> Prepared:
    """Stage a database that holds these memories, as the newest state of a tenant after transaction 7."""
    return Prepared(staged=stage_memories(node.folder, name, *contents, kind="same", txid=7, checksum=checksum))


async def contents(pool: Pool, tenant: str) -> list[str]:
    return sorted(each.content for each in (await ask(pool, tenant, LIST, MemoryList(limit=100))).memories)


async def sleep(node: Node) -> None:
    """End all engines cleanly, and have the fork server back."""
    await asyncio.to_thread(node.stop, "engine.fork_server")
    node.start("engine.fork_server")


async def test_it_is_asked_once_in_a_hosts_life(fork_server: Node) -> None:
    async with replicator(fork_server.folder) as script:
        async with gated_pool(fork_server) as pool:
            await ask(pool, TENANT, CREATE, MemoryCreate(content="first"))
            await sleep(fork_server)
            await pool.link.wait_connected()
            assert await contents(pool, TENANT) == ["first"]
            assert script.asked == [TENANT]

        async with gated_pool(fork_server) as pool:  # its engine runs, and was let in by the host before
            assert await contents(pool, TENANT) == ["first"]
            assert script.asked == [TENANT]
            await sleep(fork_server)

        async with gated_pool(fork_server) as pool:
            assert await contents(pool, TENANT) == ["first"]
            assert script.asked == [TENANT, TENANT]


async def test_it_is_asked_again_when_the_database_is_gone(fork_server: Node) -> None:
    async with replicator(fork_server.folder) as script, gated_pool(fork_server) as pool:
        await ask(pool, TENANT, STATS, MemoryStats())
        await sleep(fork_server)
        for path in tenant_folder(fork_server.folder, TENANT).glob("memory.db*"):
            path.unlink()
        script.answers = [staged(fork_server, "again", "from the store")]

        assert await contents(pool, TENANT) == ["from the store"]


async def test_what_is_staged_is_what_is_served(fork_server: Node) -> None:
    async with replicator(fork_server.folder, staged(fork_server, "newest", "one", "two")) as script:
        async with gated_pool(fork_server) as pool:
            assert await contents(pool, TENANT) == ["one", "two"]
            await ask(pool, TENANT, CREATE, MemoryCreate(content="three"))
            flushed = await ask(pool, TENANT, FLUSH, Flush())

        assert flushed.txid == 8
        assert script.asked == [TENANT]
        assert not list((fork_server.folder / "staging").iterdir())


async def test_an_engine_that_refuses_what_was_staged_has_the_replicator_asked_again(fork_server: Node) -> None:
    bad, good = staged(fork_server, "bad", "never", checksum=1), staged(fork_server, "good", "believed")
    async with replicator(fork_server.folder, bad, good) as script, gated_pool(fork_server) as pool:
        with pytest.raises(RemoteError):
            await contents(pool, TENANT)
        await eventually(lambda: pool.engine(TENANT) is None)

        assert await contents(pool, TENANT) == ["believed"]
        assert script.asked == [TENANT, TENANT]


async def test_history_goes_on_where_it_is_told_to(fork_server: Node) -> None:
    async with replicator(fork_server.folder, Prepared(rebase=41)), gated_pool(fork_server) as pool:
        await ask(pool, TENANT, CREATE, MemoryCreate(content="whole"))
        flushed = await ask(pool, TENANT, FLUSH, Flush())

    assert flushed.txid >= 42
    outbox = tenant_folder(fork_server.folder, TENANT) / "outbox"
    assert min(path.name for path in outbox.glob("*.ltx")) == f"{42:016x}-{42:016x}.ltx"


@pytest.mark.parametrize("refusal", [moved(), RemoteError(ErrorCode.NOT_FOUND, "this database has been erased")])
async def test_who_may_not_be_served_here_is_refused_and_not_asked_about_each_time(
    fork_server: Node, refusal: RemoteError
) -> None:
    async with replicator(fork_server.folder, refusal) as script, gated_pool(fork_server) as pool:
        for _ in range(20):
            with pytest.raises(RemoteError) as error:
                await pool.ensure(TENANT)
            assert (error.value.code, error.value.details) == (refusal.code, refusal.details)
        assert len(script.asked) < 20
        assert pool.starts == 0
        script.answers = [Prepared()]
        await pool.ensure(OTHER)


async def test_a_restore_takes_longer_than_a_request_and_the_next_one_finds_it(fork_server: Node) -> None:
    answer = staged(fork_server, "large", "brought back")
    async with replicator(fork_server.folder, RESTORING, answer), gated_pool(fork_server) as pool:
        with pytest.raises(RemoteError) as error:
            await pool.ensure(TENANT)
        assert (error.value.code, error.value.details) == (ErrorCode.UNAVAILABLE, {"retry_after": 2})

        assert await contents(pool, TENANT) == ["brought back"]


async def test_those_who_come_meanwhile_wait_for_the_same_answer(fork_server: Node) -> None:
    found_out = asyncio.Event()

    async def find_out() -> Prepared:
        await found_out.wait()
        return Prepared()

    async with replicator(fork_server.folder, find_out) as script, gated_pool(fork_server) as pool:
        waiting = [asyncio.ensure_future(pool.ensure(TENANT)) for _ in range(10)]
        await asyncio.to_thread(wait_until, lambda: script.asked)
        found_out.set()
        await asyncio.gather(*waiting)

        assert (len(script.asked), pool.starts) == (1, 1)


async def test_a_replicator_that_is_being_restarted_is_waited_for(fork_server: Node) -> None:
    async with gated_pool(fork_server) as pool:
        waiting = asyncio.ensure_future(pool.ensure(TENANT))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        async with replicator(fork_server.folder) as script:
            await waiting

            assert script.asked == [TENANT]


async def test_without_a_replicator_nobody_is_started_whatever_lies_on_the_disk(fork_server: Node) -> None:
    async with replicator(fork_server.folder), gated_pool(fork_server) as pool:
        await ask(pool, TENANT, STATS, MemoryStats())
        await sleep(fork_server)
        assert (tenant_folder(fork_server.folder, TENANT) / DUE_FILE).exists()

    async with gated_pool(fork_server) as pool:
        with pytest.raises(RemoteError) as error:
            await pool.ensure(TENANT)

    assert (error.value.code, error.value.details) == (ErrorCode.UNAVAILABLE, {"retry_after": 1})
    assert not fork_server.engines()


async def test_where_nothing_is_replicated_nobody_is_asked(fork_server: Node, tmp_path: Path) -> None:
    async with replicator(tmp_path) as script, running_pool(fork_server.folder) as pool:
        await pool.ensure(TENANT)

        assert script.asked == []
