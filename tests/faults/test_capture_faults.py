"""Running engines that are killed, or whose disk fails them while they capture: what was acknowledged reaches the outbox."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.captured import CAPTURED_FILE, decode
from engine.catalogue.memory import CREATE, LIST, MemoryCreate, MemoryList
from engine.catalogue.recovery import FLUSH, Flush, Flushed
from engine.layout import tenant_folder
from engine.protocol import ErrorCode, RemoteError
from engine.store.connection import open_reader, preload
from tenants.router import Router
from tests.engine.history import Replica, outbox
from tests.faults.failing_disk import injected, needs_strace, running_node
from tests.service import wait_until
from tests.tenants.conftest import TENANT, Node

WRITERS = 4


@pytest.fixture(scope="module", autouse=True)
def _extensions() -> None:
    preload()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running_node(tmp_path) as running:
        yield running


def folder_of(node: Node) -> Path:
    return tenant_folder(node.folder, TENANT)


async def store(router: Router, text: str) -> str:
    await router.call(TENANT, CREATE, MemoryCreate(content=text))
    return text


def texts(replica: Replica, path: Path) -> set[str]:
    """Return what a customer finds in the database that the replica makes."""
    path.write_bytes(replica.file())
    with closing(open_reader(path)) as reader:
        assert reader.execute("PRAGMA integrity_check").get == "ok"
        return {str(row[0]) for row in reader.execute("SELECT content FROM memories")}


def end(node: Node) -> None:
    """End the engine in order."""
    os.kill(node.engines()[TENANT], signal.SIGTERM)
    wait_until(lambda: TENANT not in node.engines())


async def test_what_was_answered_lies_in_the_outbox_after_a_flush(node: Node, tmp_path: Path) -> None:
    replica = Replica()
    async with node.router() as router:
        stored = {await store(router, f"number {number}") for number in range(5)}
        flushed: Flushed = await router.call(TENANT, FLUSH, Flush())
        replica.ship(folder_of(node))

        assert flushed.txid == replica.txid
        assert flushed.timestamp_ms == replica.headers[-1].timestamp_ms
        assert texts(replica, tmp_path / "rebuilt.db") == stored
        again: Flushed = await router.call(TENANT, FLUSH, Flush())
        assert again == flushed
        assert outbox(folder_of(node)) == []


async def test_it_comes_without_being_asked(node: Node) -> None:
    async with node.router() as router:
        await store(router, "there")
        wait_until(lambda: bool(outbox(folder_of(node))))


async def test_an_engine_that_is_killed_as_it_writes_is_continued(node: Node, tmp_path: Path) -> None:
    replica, stored, begun = Replica(), set[str](), set[str]()

    async def write(writer: int, life: int) -> None:
        for number in range(10_000):
            text = f"writer {writer} life {life} number {number}"
            begun.add(text)
            try:
                stored.add(await store(router, text))
            except RemoteError:
                return

    async with node.router() as router:
        for life in range(4):
            await store(router, f"awake {life}")
            stored.add(f"awake {life}")
            engine = node.engines()[TENANT]
            before = len(stored)
            writing = [asyncio.create_task(write(writer, life)) for writer in range(WRITERS)]
            while len(stored) < before + 60 * (life + 1):
                await asyncio.sleep(0.01)
            os.kill(engine, signal.SIGKILL)
            await asyncio.wait(writing)
            replica.ship(folder_of(node))
        await router.call(TENANT, LIST, MemoryList())
        end(node)

    replica.ship(folder_of(node))
    assert replica.file() == (folder_of(node) / "memory.db").read_bytes()
    assert stored <= texts(replica, tmp_path / "rebuilt.db") <= stored | begun


@needs_strace
@pytest.mark.parametrize(
    "fault",
    [
        *(f"{call}:error={error}:when=1" for call in ("fsync", "fdatasync", "pwrite64") for error in ("EIO", "ENOSPC")),
        "fsync:error=EIO:when=2",
        "rename:error=EIO:when=1",
        "rename,renameat,renameat2:error=ENOSPC:when=1..2",
        "write:error=ENOSPC:when=1..3",
    ],
)
async def test_a_capture_that_fails_is_tried_again_and_nobody_notices(node: Node, tmp_path: Path, fault: str) -> None:
    """The commit has had its fsync before: what fails then is the capture's."""
    replica, failures = Replica(), []
    async with node.router() as router:
        await store(router, "before")
        await router.call(TENANT, FLUSH, Flush())
        stored = {"before", await store(router, "acknowledged")}
        engine = node.engines()[TENANT]
        with injected(engine, fault):
            for _ in range(8):
                try:
                    await router.call(TENANT, FLUSH, Flush())
                except RemoteError as error:
                    failures.append(error.code)
        stored.add(await store(router, "after"))
        await router.call(TENANT, FLUSH, Flush())
        assert node.engines()[TENANT] == engine
        replica.ship(folder_of(node))
        assert texts(replica, tmp_path / "rebuilt.db") == stored
        end(node)

    replica.ship(folder_of(node))
    assert set(failures) <= {ErrorCode.UNAVAILABLE}
    assert replica.file() == (folder_of(node) / "memory.db").read_bytes()


async def test_a_node_that_does_not_replicate_captures_nothing(tmp_path: Path) -> None:
    with closing(Node(tmp_path, environment={"ENGRAM_CAPTURE": "0"})) as node:
        node.start("engine.fork_server")
        node.start("tenants.host.main")
        async with node.router() as router:
            await store(router, "there")
            with pytest.raises(RemoteError) as refused:
                await router.call(TENANT, FLUSH, Flush())
            end(node)

        assert refused.value.code == ErrorCode.UNAVAILABLE
        assert outbox(folder_of(node)) == []
        assert not (folder_of(node) / CAPTURED_FILE).exists()


async def test_the_position_says_what_was_shipped(node: Node) -> None:
    async with node.router() as router:
        await store(router, "there")
        flushed: Flushed = await router.call(TENANT, FLUSH, Flush())
    position = decode((folder_of(node) / CAPTURED_FILE).read_bytes())

    assert position is not None
    assert (position.txid, position.timestamp_ms) == (flushed.txid, flushed.timestamp_ms)
