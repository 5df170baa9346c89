"""A real fork server and a real host in a folder of their own, without a gateway, and a replicator where a test has one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from engine.link import Link
from tenants.messages.host import HostStatus
from tenants.router import Router
from tests.service import wait_until

TENANT = "db_" + "a" * 20
OTHER = "db_" + "b" * 20


SOCKETS = {
    "engine.fork_server": "fork.sock",
    "tenants.host.main": "host.sock",
    "tenants.replica.main": "replica.sock",
}


class Node:
    """The processes, and what a test wants to know of them."""

    def __init__(self, folder: Path, *, idle_s: float = 300, environment: Mapping[str, str] | None = None) -> None:
        """``environment``: such as ``ENGRAM_REPLICA_URL``, with which the host asks a replicator before it serves anybody."""
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "ENGRAM_DATA_DIR": str(folder),
            "ENGRAM_ENGINE_IDLE_SECONDS": str(idle_s),
            "OPENBLAS_NUM_THREADS": "1",
        } | dict(environment or {})
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "run" / "engines").mkdir(parents=True, exist_ok=True)

    def start(self, program: str) -> None:
        """Start one of ``SOCKETS`` and wait until it listens."""
        path = self.folder / "run" / SOCKETS[program]
        path.unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._processes[program] = subprocess.Popen(
                [sys.executable, "-P", "-m", program], env=self.environment, stdout=log, stderr=log
            )
        wait_until(path.exists)

    def stop(self, program: str, number: int = signal.SIGTERM) -> int:
        """Send one of them a signal and return its exit status."""
        process = self._processes.pop(program)
        process.send_signal(number)
        return process.wait(30)

    def close(self) -> None:
        """End what still runs."""
        for program in list(self._processes):
            self.stop(program)

    def pid(self, program: str) -> int:
        """Return its process id."""
        return self._processes[program].pid

    def engines(self) -> dict[str, int]:
        """Return the process ids of the fork server's engines by tenant."""
        found = {}
        for child in psutil.Process(self.pid("engine.fork_server")).children():
            try:
                line = " ".join(child.cmdline()).strip()
            except psutil.NoSuchProcess:  # it has just ended, reaped or not yet
                continue
            if line.startswith("engram engine "):
                found[line.removeprefix("engram engine ").strip()] = child.pid
        return found

    @asynccontextmanager
    async def router(self) -> AsyncIterator[Router]:
        """Yield a router to this node's engines."""
        async with Link(self.folder / "run" / "host.sock") as host, Router(host, pending=lambda _: None) as router:
            yield router

    async def status(self) -> HostStatus:
        """Return what the host says of itself."""
        async with Link(self.folder / "run" / "host.sock") as host:
            return await host.call("status", result_type=HostStatus)

    def log(self) -> str:
        """Return what both have logged."""
        return (self.folder / "log").read_text()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node whose engines do not fall asleep."""
    yield from _run(tmp_path, idle_s=300)


@pytest.fixture
def sleepy_node(tmp_path: Path) -> Iterator[Node]:
    """A node whose engines fall asleep after a fifth of a second."""
    yield from _run(tmp_path, idle_s=0.2)


@pytest.fixture
def fork_server(tmp_path: Path) -> Iterator[Node]:
    """A fork server without a host, for a pool in the test's own process."""
    node = Node(tmp_path)
    try:
        node.start("engine.fork_server")
        yield node
    finally:
        node.close()


def _run(folder: Path, *, idle_s: float) -> Iterator[Node]:
    node = Node(folder, idle_s=idle_s)
    try:
        node.start("engine.fork_server")
        node.start("tenants.host.main")
        yield node
    finally:
        node.close()
