"""What a killed engine had committed is captured soon after, whether or not anybody asks for that database again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.catalogue.lifecycle import DUE_FILE
from engine.catalogue.memory import CREATE, MemoryCreate
from engine.layout import tenant_folder
from engine.protocol import ErrorCode, RemoteError
from engine.store.connection import preload
from tenants.host.caretaker import Caretaker
from tests.service import wait_until
from tests.tenants import captured_state
from tests.tenants.conftest import OTHER, TENANT, Node


@pytest.fixture(autouse=True, scope="module")
def _extensions() -> None:
    preload()


async def until(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(wait_until, condition)


def kill_engines(node: Node) -> None:
    """Kill those that run, and return when they have gone; others may have started in their place."""
    killed = set(node.engines().values())
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not killed & set(node.engines().values()))


async def test_what_a_killed_engine_had_committed_is_captured_without_a_request(node: Node, tmp_path: Path) -> None:
    folder = tenant_folder(node.folder, TENANT)
    async with node.router() as router:
        for number in range(4):
            memory = MemoryCreate(content=f"acknowledged {number}")
            await router.call(TENANT, CREATE, memory, idempotency_key=f"key {number}")  # it may find a dead engine's line
            await asyncio.to_thread(kill_engines, node)
    # The last of them nobody asks for again.
    await until((folder / DUE_FILE).exists)

    assert captured_state.contents(folder, tmp_path / "state") == {f"acknowledged {number}" for number in range(4)}
    assert not node.engines()
    assert (await node.status()).wakings_total >= 1


async def test_the_death_of_the_fork_server_has_all_of_them_captured(node: Node, tmp_path: Path) -> None:
    async with node.router() as router:
        for tenant in (TENANT, OTHER):
            await router.call(tenant, CREATE, MemoryCreate(content="acknowledged"))
        kill_engines(node)
        node.stop("engine.fork_server", signal.SIGKILL)
    node.start("engine.fork_server")

    for tenant in (TENANT, OTHER):
        folder = tenant_folder(node.folder, tenant)
        await until((folder / DUE_FILE).exists)
        assert captured_state.contents(folder, tmp_path / tenant) == {"acknowledged"}


async def test_a_node_that_starts_captures_what_the_one_before_left(node: Node, tmp_path: Path) -> None:
    """As after a power cut: nothing is running, and nobody has asked yet."""
    folder = tenant_folder(node.folder, TENANT)
    async with node.router() as router:
        await router.call(TENANT, CREATE, MemoryCreate(content="acknowledged"))
        node.stop("tenants.host.main", signal.SIGKILL)
        kill_engines(node)
        node.stop("engine.fork_server", signal.SIGKILL)
    assert not (folder / DUE_FILE).exists()
    node.start("engine.fork_server")
    node.start("tenants.host.main")
    await until((folder / DUE_FILE).exists)

    assert captured_state.contents(folder, tmp_path / "state") == {"acknowledged"}


async def test_an_engine_that_ends_in_order_is_not_woken(node: Node) -> None:
    async with node.router() as router:
        await router.call(TENANT, CREATE, MemoryCreate(content="kept"))
    os.kill(node.engines()[TENANT], signal.SIGTERM)
    await until(lambda: not node.engines())
    await asyncio.sleep(1.0)  # in which it would have been

    assert not node.engines()
    status = await node.status()
    assert (status.wakings_total, status.starts_total) == (0, 1)


# The caretaker alone


class Played:
    """A caretaker whose engines are the test's."""

    def __init__(self, folder: Path) -> None:
        self.woken: asyncio.Queue[str] = asyncio.Queue()
        self.error: RemoteError | None = None
        self.caretaker = Caretaker(folder, wake=self._wake, is_awake=lambda _: False)
        self.folder = tenant_folder(folder, TENANT)
        self.folder.mkdir(parents=True)
        (self.folder / DUE_FILE).write_bytes(b'{"at":null}')

    async def _wake(self, tenant: str) -> Path:
        self.woken.put_nowait(tenant)
        raise self.error or RemoteError(ErrorCode.UNAVAILABLE, "not now")


async def test_one_that_crashes_when_it_is_woken_is_not_woken_again_and_again(tmp_path: Path) -> None:
    played = Played(tmp_path)
    running = asyncio.ensure_future(played.caretaker.run())
    await asyncio.sleep(0)
    (played.folder / DUE_FILE).unlink()
    played.caretaker.ended(TENANT, played.folder)
    assert await played.woken.get() == TENANT
    played.caretaker.ended(TENANT, played.folder)
    await asyncio.sleep(1.0)
    assert played.woken.empty()

    played.caretaker.used(TENANT)  # somebody asks for it, and it crashes with that
    played.caretaker.ended(TENANT, played.folder)
    assert await played.woken.get() == TENANT
    running.cancel()


async def test_one_that_may_not_be_started_yet_is_woken_when_it_may(tmp_path: Path) -> None:
    played = Played(tmp_path)
    running = asyncio.ensure_future(played.caretaker.run())
    await asyncio.sleep(0)
    (played.folder / DUE_FILE).unlink()
    played.caretaker.ended(TENANT, played.folder, not_before_s=1.5)
    await asyncio.sleep(1.2)
    assert played.woken.empty()

    assert await played.woken.get() == TENANT
    running.cancel()


async def test_one_that_leaves_word_after_it_was_looked_at_is_left_alone(tmp_path: Path) -> None:
    """Its parent had died, and it was still ending."""
    played = Played(tmp_path)
    running = asyncio.ensure_future(played.caretaker.run())
    await asyncio.sleep(0)
    (played.folder / DUE_FILE).unlink()
    played.caretaker.ended(TENANT, played.folder)
    (played.folder / DUE_FILE).write_bytes(b'{"at":null}')
    await asyncio.sleep(1.0)
    running.cancel()

    assert played.woken.empty()
