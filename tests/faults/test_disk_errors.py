"""A disk that fails in the middle: nothing that was acknowledged is lost, nothing that was refused comes back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.catalogue.lifecycle import DATABASE_CHECK, DatabaseCheck
from engine.catalogue.memory import CREATE, DELETE, LIST, MemoryCreate, MemoryDelete, MemoryList
from engine.catalogue.recovery import FLUSH, Flush
from engine.layout import tenant_folder
from engine.protocol import ErrorCode, RemoteError
from tenants.router import Router
from tests.faults.failing_disk import injected, needs_strace, running_node
from tests.service import wait_until
from tests.tenants.conftest import TENANT, Node

pytestmark = needs_strace

WRITES_PER_COMMIT = 32
"""Two for each frame, some sixteen frames for a memory of a few words."""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running_node(tmp_path) as running:
        yield running


@dataclass
class Ledger:
    """What a customer was told."""

    stored: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    codes: list[str] = field(default_factory=list)

    async def create(self, router: Router, text: str) -> int | None:
        """Store a text and write down the answer."""
        try:
            memory = await router.call(TENANT, CREATE, MemoryCreate(content=text))
        except RemoteError as error:
            self.codes.append(error.code)
            (self.refused if "nothing was changed" in error.message else self.unknown).add(text)
            return None
        self.stored.add(text)
        return int(memory.id)

    async def check(self, router: Router) -> None:
        """Compare what is there with what was told."""
        page = await router.call(TENANT, LIST, MemoryList(limit=500))
        found = {memory.content for memory in page.memories}

        assert self.stored <= found
        assert not self.refused & found
        assert found <= self.stored | self.unknown


async def served(router: Router) -> None:
    """Ask until there is an answer."""
    async with asyncio.timeout(60):
        while True:
            try:
                await router.call(TENANT, LIST, MemoryList())
            except RemoteError as error:
                assert error.code == ErrorCode.UNAVAILABLE
                await asyncio.sleep(0.1)
            else:
                return


async def look_closely(node: Node, router: Router, ledger: Ledger) -> None:
    """Look at once, after ``kill -9``, and once more after another write."""
    await ledger.check(router)
    if TENANT in node.engines():
        os.kill(node.engines()[TENANT], signal.SIGKILL)
        wait_until(lambda: TENANT not in node.engines())
    await ledger.check(router)
    assert await ledger.create(router, "after all") is not None
    report = await router.call(TENANT, DATABASE_CHECK, DatabaseCheck())
    assert report.problems == []
    os.kill(node.engines()[TENANT], signal.SIGKILL)
    wait_until(lambda: TENANT not in node.engines())
    await ledger.check(router)


@pytest.mark.parametrize(
    "fault",
    [
        *(
            f"pwrite64:error={error}:when={number}"
            for error in ("EIO", "ENOSPC")
            for number in (1, 2, WRITES_PER_COMMIT - 1, WRITES_PER_COMMIT, WRITES_PER_COMMIT + 5)
        ),
        *(
            f"{call}:error={error}:when={number}"
            for call in ("fdatasync",)
            for error in ("EIO", "ENOSPC")
            for number in (1, 2, 3)
        ),
    ],
)
async def test_one_failing_call_loses_nothing(node: Node, fault: str) -> None:
    ledger = Ledger()
    async with node.router() as router:
        for number in range(3):
            await ledger.create(router, f"before {number}")
        await router.call(TENANT, FLUSH, Flush())  # so that the fault meets the next write, and not the capture of these
        with injected(node.engines()[TENANT], fault):
            for number in range(4):
                await ledger.create(router, f"meanwhile {number}")

        assert ledger.codes == [ErrorCode.DISK_FULL if "ENOSPC" in fault else ErrorCode.UNAVAILABLE]
        assert len(ledger.refused) == 1
        await look_closely(node, router, ledger)


async def test_when_taking_back_fails_too_the_outcome_is_said_to_be_unknown(node: Node) -> None:
    ledger = Ledger()
    async with node.router() as router:
        await ledger.create(router, "before")
        with injected(node.engines()[TENANT], "fdatasync:error=EIO:when=1", "fsync:error=EIO:when=1"):
            await ledger.create(router, "meanwhile")
            await ledger.create(router, "by the next engine")

        assert ledger.unknown == {"meanwhile"}
        assert "by the next engine" in ledger.stored
        await look_closely(node, router, ledger)


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
async def test_a_refused_write_does_not_come_back_with_the_next_engine(node: Node, error: str) -> None:
    """Its frames are all in the log, with the mark of a commit: only their fsync has failed."""
    ledger = Ledger()
    async with node.router() as router:
        await ledger.create(router, "before")
        engine = node.engines()[TENANT]
        with injected(engine, f"fdatasync:error={error}:when=1+"):
            await ledger.create(router, "refused")
            with contextlib.suppress(ProcessLookupError):  # after EIO it ends by itself
                os.kill(engine, signal.SIGKILL)
        wait_until(lambda: engine not in node.engines().values())

        assert ledger.refused == {"refused"}
        await ledger.check(router)


@pytest.mark.parametrize("calls", ["pwrite64", "fdatasync"])
async def test_a_disk_that_stays_full_stops_writes_and_not_reads(node: Node, calls: str) -> None:
    ledger = Ledger()
    async with node.router() as router:
        await ledger.create(router, "before")
        engine = node.engines()[TENANT]
        with injected(engine, f"{calls}:error=ENOSPC:when=1+"):
            for number in range(3):
                await ledger.create(router, f"refused {number}")
                await ledger.check(router)
        await ledger.create(router, "after")

        assert ledger.codes == [ErrorCode.DISK_FULL] * 3
        assert node.engines()[TENANT] == engine
        await look_closely(node, router, ledger)


async def test_writes_that_arrive_together_are_refused_together(node: Node) -> None:
    ledger = Ledger()
    async with node.router() as router:
        await ledger.create(router, "before")
        with injected(node.engines()[TENANT], "fdatasync:error=EIO:when=1"):
            await asyncio.gather(*(ledger.create(router, f"meanwhile {number}") for number in range(20)))

        assert ErrorCode.INTERNAL not in ledger.codes
        await look_closely(node, router, ledger)


@pytest.mark.parametrize(
    "fault",
    [
        *(f"fdatasync:error={error}:when={number}" for error in ("EIO", "ENOSPC") for number in (2, 3, 4, 5)),
        *(f"ftruncate:error={error}:when=1" for error in ("EIO", "ENOSPC")),
        "pwrite64:error=ENOSPC:when=60..90",
    ],
)
async def test_a_purge_whose_checkpoint_fails_has_happened_and_is_finished_later(node: Node, fault: str) -> None:
    """The commit's fsync is the first; what follows it captures it, and then empties the log into the file."""
    ledger = Ledger()
    async with node.router() as router:
        await ledger.create(router, "stays")
        memory_id = await ledger.create(router, "the secret harbour")
        with injected(node.engines()[TENANT], fault):
            deleted = await router.call(TENANT, DELETE, MemoryDelete(id=memory_id, purge=True))
        ledger.stored.remove("the secret harbour")
        ledger.refused.add("the secret harbour")

        assert deleted.id == memory_id
        await ledger.create(router, "the next write finishes it")
        folder = tenant_folder(node.folder, TENANT)
        assert [file.name for file in folder.iterdir() if file.is_file() and b"secret harbour" in file.read_bytes()] == []
        await look_closely(node, router, ledger)


async def test_a_log_that_was_left_behind_is_saved_before_it_is_believed(node: Node) -> None:
    """The first fsync of an engine that finds a log is for that log. Where it fails, nothing is served from it."""
    ledger = Ledger()
    async with node.router() as router:
        await ledger.create(router, "before")
        os.kill(node.engines()[TENANT], signal.SIGKILL)
        wait_until(lambda: TENANT not in node.engines())
        with injected(node.pid("engine.fork_server"), "fsync:error=EIO:when=1"):
            with pytest.raises(RemoteError) as refused:
                await router.call(TENANT, LIST, MemoryList())
            assert refused.value.code == ErrorCode.UNAVAILABLE

        await served(router)  # the host lets an engine that keeps failing rest for a while
        await look_closely(node, router, ledger)
