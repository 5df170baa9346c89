"""A damaged database is set aside: refused, not opened again, no crash loop, and nobody else notices."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from engine.catalogue.lifecycle import DATABASE_CHECK, QUARANTINE_FILE, DatabaseCheck
from engine.catalogue.memory import CREATE, GET, LIST, MemoryCreate, MemoryGet, MemoryList
from engine.catalogue.statistics import STATS, MemoryStats
from engine.catalogue.transfer import FILE, ExportFile
from engine.layout import tenant_folder
from engine.protocol import ErrorCode, RemoteError
from tenants.router import Router
from tests.service import wait_until
from tests.tenants.conftest import OTHER, TENANT, Node


def flip(path: Path, what: bytes) -> None:
    """Flip a bit of ``what`` in place, as a disk does."""
    position = path.read_bytes().index(what)
    descriptor = os.open(path, os.O_RDWR)
    os.pwrite(descriptor, bytes([what[0] ^ 0x10]), position)
    os.close(descriptor)


async def fill(router: Router, tenant: str) -> None:
    for number in range(20):
        await router.call(tenant, CREATE, MemoryCreate(content=f"memory number {number} about the harbour"))


async def sleep(node: Node) -> None:
    """End all engines cleanly and start the fork server again."""
    await asyncio.to_thread(node.stop, "engine.fork_server")  # whose engines wait for our clients to hang up
    node.start("engine.fork_server")


async def refused(router: Router, tenant: str) -> bool:
    """Whether everything that is asked is answered with the one code."""
    asked = (
        (STATS, MemoryStats()),
        (CREATE, MemoryCreate(content="more")),
        (GET, MemoryGet(id=1)),
        (DATABASE_CHECK, DatabaseCheck()),
    )
    codes = set()
    for operation, arguments in asked:
        with pytest.raises(RemoteError) as error:
            await router.call(tenant, operation, arguments)
        codes.add(error.value.code)
        assert "harbour" not in str(error.value.details) + error.value.message
    return codes == {ErrorCode.DATABASE_CORRUPT}


async def read_all(router: Router, tenant: str) -> None:
    page = await router.call(tenant, LIST, MemoryList(limit=500))
    for memory in page.memories:
        assert memory.content == f"memory number {memory.id - 1} about the harbour"


async def assert_set_aside(node: Node, router: Router) -> None:
    folder = tenant_folder(node.folder, TENANT)
    assert (folder / QUARANTINE_FILE).exists()
    assert b"harbour" not in (folder / QUARANTINE_FILE).read_bytes()
    files = {path.name: path.read_bytes() for path in folder.glob("memory.db*")}
    assert await refused(router, TENANT)
    await read_all(router, OTHER)

    node.stop("tenants.host.main", signal.SIGKILL)
    node.start("tenants.host.main")
    await sleep(node)
    async with node.router() as again:
        assert await refused(again, TENANT)
        await read_all(again, OTHER)
    assert TENANT not in node.engines()
    assert {path.name: path.read_bytes() for path in folder.glob("memory.db*")} == files
    assert node.log().count('"database_quarantined"') == 1
    status = await node.status()
    assert (status.quarantined, status.crashes_total) == (1, 0)


async def test_a_flipped_bit_in_a_sleeping_database(node: Node) -> None:
    async with node.router() as router:
        await fill(router, TENANT)
        await fill(router, OTHER)
        await sleep(node)
        flip(tenant_folder(node.folder, TENANT) / "memory.db", b"number 13 about")
        with pytest.raises(RemoteError) as error:
            await read_all(router, TENANT)

        assert error.value.code == ErrorCode.DATABASE_CORRUPT
        await assert_set_aside(node, router)


async def test_a_flipped_bit_that_an_export_comes_upon(node: Node) -> None:
    async with node.router() as router:
        await fill(router, TENANT)
        await fill(router, OTHER)
        await sleep(node)
        flip(tenant_folder(node.folder, TENANT) / "memory.db", b"number 13 about")
        with pytest.raises(RemoteError) as error:
            async for _ in router.stream(TENANT, FILE, ExportFile()):
                pass

        assert error.value.code == ErrorCode.DATABASE_CORRUPT
        await gone(node)
        await assert_set_aside(node, router)


async def test_a_file_that_is_no_database(node: Node) -> None:
    async with node.router() as router:
        await fill(router, TENANT)
        await fill(router, OTHER)
        await sleep(node)
        (tenant_folder(node.folder, TENANT) / "memory.db").write_bytes(b"something else entirely, and quite long" * 1000)

        await assert_set_aside_on_first_request(node, router)


async def test_a_flipped_bit_in_the_log_that_a_killed_engine_left(node: Node) -> None:
    async with node.router() as router:
        await fill(router, TENANT)
        await fill(router, OTHER)
        node.stop("tenants.host.main", signal.SIGKILL)  # it would have the log captured at once
        os.kill(node.engines()[TENANT], signal.SIGKILL)
        await gone(node)
        flip(tenant_folder(node.folder, TENANT) / "memory.db-wal", b"number 3 about")
        node.start("tenants.host.main")

        await assert_set_aside_on_first_request(node, router)


async def test_a_flipped_bit_in_the_log_of_an_engine_that_ends(node: Node) -> None:
    async with node.router() as router:
        await fill(router, TENANT)
        await fill(router, OTHER)
        flip(tenant_folder(node.folder, TENANT) / "memory.db-wal", b"number 3 about")
        os.kill(node.engines()[TENANT], signal.SIGTERM)
        await gone(node)

        await assert_set_aside(node, router)


async def test_a_flipped_bit_in_the_log_of_an_engine_that_writes_on(node: Node) -> None:
    """The log is verified when it has grown long; until then nothing is copied from it."""
    folder = tenant_folder(node.folder, TENANT)
    async with node.router() as router:
        await fill(router, TENANT)
        await fill(router, OTHER)
        before = (folder / "memory.db").read_bytes()
        flip(folder / "memory.db-wal", b"number 3 about")
        with pytest.raises(RemoteError) as error:
            for _ in range(500):
                await router.call(TENANT, CREATE, MemoryCreate(content="x " * 30_000))

        assert error.value.code == ErrorCode.DATABASE_CORRUPT
        assert (folder / "memory.db").read_bytes() == before
        await assert_set_aside(node, router)


async def assert_set_aside_on_first_request(node: Node, router: Router) -> None:
    assert await refused(router, TENANT)
    await assert_set_aside(node, router)


async def gone(node: Node) -> None:
    await asyncio.to_thread(wait_until, lambda: TENANT not in node.engines())


async def test_a_check_beside_the_work_sets_aside_what_it_finds_damaged(node: Node) -> None:
    async with node.router() as router:
        await fill(router, TENANT)
        await fill(router, OTHER)
        await sleep(node)
        sound = await router.call(TENANT, DATABASE_CHECK, DatabaseCheck())
        assert (sound.problems, sound.memories) == ([], 20)
        await sleep(node)
        flip(tenant_folder(node.folder, TENANT) / "memory.db", b"number 13 about")

        assert (await router.call(TENANT, DATABASE_CHECK, DatabaseCheck())).problems
        await gone(node)
        await assert_set_aside(node, router)


async def test_kills_under_load_lose_nothing_and_are_no_damage(node: Node) -> None:
    """Large writes, so that kills fall before, into and after checkpoints."""
    acknowledged: set[int] = set()
    async with node.router() as router:
        for round_number in range(8):
            stop = asyncio.Event()
            writers = [asyncio.ensure_future(_write_until(stop, router, acknowledged)) for _ in range(4)]
            await asyncio.sleep(0.05 * (round_number + 1))
            os.kill(node.engines()[TENANT], signal.SIGKILL)
            stop.set()
            await asyncio.gather(*writers)
        page = await router.call(TENANT, LIST, MemoryList(limit=100))
        listed = {memory.id for memory in page.memories}
        while page.next_cursor:
            page = await router.call(TENANT, LIST, MemoryList(limit=100, cursor=page.next_cursor))
            listed |= {memory.id for memory in page.memories}

        assert acknowledged <= listed
        assert (await router.call(TENANT, DATABASE_CHECK, DatabaseCheck())).problems == []


async def _write_until(stop: asyncio.Event, router: Router, acknowledged: set[int]) -> None:
    while not stop.is_set():
        try:
            memory = await router.call(TENANT, CREATE, MemoryCreate(content="x " * 15_000))
        except RemoteError as error:
            assert error.code == ErrorCode.UNAVAILABLE
        else:
            acknowledged.add(memory.id)
