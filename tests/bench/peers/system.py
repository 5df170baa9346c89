"""What is compared: a running system, and a client of it. Also how a peer's server is started and weighed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import httpx
import psutil

from engine.process import die_with_parent
from tests.bench.peers.dataset import Item
from tests.service import wait_until

LIMIT = 10
"""Results of every search, the default of all systems compared."""

_START_S = 120
_STOP_S = 30


class Unavailable(Exception):
    """A peer can't be measured here; the message says why."""


class Client(Protocol):
    """One connection. Text goes in, texts come out; whose vector it takes, makes it."""

    async def search(self, query: str, conversation: str | None = None) -> list[str]:
        """Return the texts found, best first, in one conversation or in all."""

    async def write(self, text: str) -> None:
        """Store a memory."""

    def close(self) -> None:
        """Hang up."""


class System(Protocol):
    """Something that stores memories and finds them."""

    @property
    def name(self) -> str:
        """The row's name: the system, and what its search goes by."""

    async def fill(self, items: Sequence[Item]) -> int:
        """Store all and return how many were taken."""

    async def connect(self) -> Client:
        """Return a new client."""

    def footprint(self) -> tuple[float, float]:
        """Return the private memory of all its processes and the size of its database, in MB."""


@contextmanager
def server(command: Sequence[str], *, environment: Mapping[str, str], folder: Path, health: str) -> Iterator[psutil.Process]:
    """Yield a peer's server once ``health`` answers. Its output goes to a file, as in production."""
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent,
        )
    try:
        try:
            wait_until(lambda: process.poll() is not None or _answers(health), _START_S)
        except AssertionError as error:
            raise Unavailable(f"its server did not answer: {error}") from error
        if process.poll() is not None:
            raise Unavailable(f"its server ended with {process.returncode}: {_last_line(log)}")
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def private_mb(processes: Sequence[psutil.Process]) -> float:
    """Return what ending these processes would give back."""
    return sum(process.memory_full_info().uss for process in processes) / 1e6


def files_mb(folder: Path, pattern: str) -> float:
    """Return the size of the files below ``folder`` that match."""
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file()) / 1e6


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
