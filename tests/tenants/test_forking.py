"""What becomes of requests when the machine can't start another process, and of engines that outlive who started them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from engine import orphans
from engine.catalogue.memory import CREATE, LIST, MemoryCreate, MemoryList
from engine.protocol import ErrorCode, RemoteError
from tenants.router import Router
from tests.service import wait_until
from tests.tenants.conftest import OTHER, TENANT, Node

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can trace or find processes of others")


async def create(router: Router, tenant: str) -> None:
    await router.call(tenant, CREATE, MemoryCreate(content="kept"))


async def contents(router: Router, tenant: str) -> list[str]:
    page = await router.call(tenant, LIST, MemoryList())
    return [memory.content for memory in page.memories]


@contextmanager
def failing(pid: int, call: str, error: str) -> Iterator[None]:
    """Have the kernel refuse ``call`` to a process with ``error`` inside the block."""
    strace = shutil.which("strace")
    assert strace is not None, "strace is not installed: ./scripts/test installs it"
    command = [strace, "-qq", "-o", "/dev/null", "-p", str(pid), "-e", f"trace={call}", "-e", f"inject={call}:error={error}"]
    with subprocess.Popen(command) as tracer:
        wait_until(lambda: "TracerPid:\t0" not in Path(f"/proc/{pid}/status").read_text())
        yield
        tracer.send_signal(signal.SIGINT)


@as_root
@pytest.mark.parametrize("error", ["EAGAIN", "ENOMEM"])
async def test_a_fork_that_fails_is_a_503_with_a_time_to_retry_and_the_next_succeeds(node: Node, error: str) -> None:
    async with node.router() as router:
        await create(router, OTHER)
        with failing(node.pid("engine.fork_server"), "clone", error):
            with pytest.raises(RemoteError) as refused:
                await create(router, TENANT)
            assert await contents(router, OTHER) == ["kept"]
        descriptors = psutil.Process(node.pid("engine.fork_server")).num_fds()

        assert (refused.value.code, refused.value.details) == (ErrorCode.UNAVAILABLE, {"retry_after": 1})
        await create(router, TENANT)
        assert await contents(router, TENANT) == ["kept"]
    # The engine that was started now has two pipes with the fork server, and what failed has left nothing open.
    assert psutil.Process(node.pid("engine.fork_server")).num_fds() - descriptors <= 2


@as_root
async def test_an_engine_that_does_not_end_with_its_fork_server_is_killed_by_the_next(node: Node) -> None:
    async with node.router() as router:
        await create(router, TENANT)
        engine = psutil.Process(node.engines()[TENANT])
        engine.suspend()  # it will not hear that it should end
        node.stop("engine.fork_server", signal.SIGKILL)

        orphans.kill(node.folder / "elsewhere")
        assert engine.is_running()

        orphans.kill(node.folder)
        wait_until(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE)
        node.start("engine.fork_server")
        assert await contents(router, TENANT) == ["kept"]
