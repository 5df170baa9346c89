"""Every program of a node is killed while customers write: what was acknowledged is there exactly once, and nothing half done.

``./scripts/soak node`` goes on with it for as long as one likes, each round with plans of its own.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.mixed_load import Writer
from tests.acceptance.reckoning import check_contents, check_files
from tests.service import Account, Service, wait_until

SOAK_MINUTES = int(os.environ.get("ENGRAM_SOAK_MINUTES", "0"))
"""No minutes are one round."""

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(0 if SOAK_MINUTES else 300)]

WRITERS = 3
STEPS_BETWEEN = 6
"""What each writer gets done between two kills."""

MEMORY_GROWTH_MAX = 150_000_000
"""Of one program, from the first round to the last: what a few exports and imports at once may hold."""


@pytest.fixture
def node(models: Path, tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path) as running:
        yield running


def test_what_was_acknowledged_is_there_exactly_once(node: Service) -> None:
    until = time.monotonic() + SOAK_MINUTES * 60
    account, neighbour = node.sign_up(), node.sign_up()
    with account, neighbour:
        untouched = [neighbour.create(f"the neighbour's number {number}") for number in range(20)]
        writers = [Writer(account, f"w{number}", seed=number) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        try:
            _round(node, account, writers)
            at_first = _memory(node)
            while time.monotonic() < until:
                _round(node, account, writers)
        finally:
            for writer in writers:
                writer.stop()
            for writer in writers:
                writer.join(120)
        account.wait_for_embeddings()

        check_contents(account, writers)
        assert [neighbour.get(f"/v1/memories/{memory['id']}").json()["content"] for memory in untouched] == [
            memory["content"] for memory in untouched
        ]
        grown = {name: size - at_first.get(name, size) for name, size in _memory(node).items()}
        assert {name: size for name, size in grown.items() if size > MEMORY_GROWTH_MAX} == {}
    check_files(node, account, writers)


def _round(node: Service, account: Account, writers: list[Writer]) -> None:
    for fault in (_engine, _gateway, _embedder_stands_still, _host, _fork_server, _embedder, _node):
        _work(writers)
        fault(node, account)
    _work(writers)


def _work(writers: list[Writer]) -> None:
    """Wait until each writer has got something done."""
    wanted = [writer.steps + STEPS_BETWEEN for writer in writers]

    def done() -> bool:
        for writer in writers:
            writer.check()
        return all(writer.steps >= steps for writer, steps in zip(writers, wanted, strict=True))

    wait_until(done, 180)


def _killer(name: str) -> Callable[[Service, Account], None]:
    def kill(node: Service, account: Account) -> None:
        node.program(name).kill()

    return kill


_gateway = _killer("gateway.main")
_host = _killer("tenants.host.main")
_fork_server = _killer("engram fork-server")
_embedder = _killer("engine.embedder.main")


def _engine(node: Service, account: Account) -> None:
    wait_until(lambda: account.database in node.engines(), 30)
    node.engines()[account.database].kill()


def _embedder_stands_still(node: Service, account: Account) -> None:
    embedder = node.program("engine.embedder.main")
    embedder.suspend()
    try:
        answer = account.post("/v1/memories", json={"content": "The embedder stands still."})
        assert answer.status_code in (201, 503)
    finally:
        embedder.resume()


def _node(node: Service, account: Account) -> None:
    """A restart of all of it, as an operator does it."""
    assert node.stop(signal.SIGTERM) == 0
    node.start()


def _memory(node: Service) -> dict[str, int]:
    sizes = {}
    for process in node.processes():
        try:
            sizes[" ".join(process.cmdline())] = process.memory_info().rss
        except psutil.Error:
            continue
    return sizes
