"""Requests per second of get, create and search, beside Litestar doing nothing and Litestar with one call on a Unix socket.

All targets take turns, round after round, so that whatever else the machine does hits them alike; medians over the rounds.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.bench import table, wrk
from tests.bench.node import running
from tests.bench.wrk import Speed, Target
from tests.service import ROOT, Account, free_port, wait_until

_SEED = 7
_WORDS = (
    "Lisbon", "Bergen", "harbour", "archive", "barometer", "cello", "cluster", "migration", "review", "quarter",
    "garden", "gate", "night", "train", "starter", "bread", "tax", "return", "attic", "basement", "climbing", "hall",
    "painter", "sailor", "neighbour", "invoice", "customer", "release", "window", "backup", "restore", "latency",
)  # fmt: skip


def main() -> int:
    """Measure and print; the exit status is 1 when a request failed."""
    options = argparse.ArgumentParser(prog="scripts/bench http", description=__doc__)
    options.add_argument("--seconds", type=float, default=3, help="of each run")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--connections", type=int, default=16)
    options.add_argument("--memories", type=int, default=1000, help="stored before searching")
    options.add_argument("--only", default="", help="beside the baselines, only targets whose name begins so")
    given = options.parse_args()
    print(table.machine())
    with running() as service, service.sign_up() as reader, service.sign_up() as writer, _bare_server() as bare:
        _fill(reader, given.memories)
        targets = [
            target
            for target in _targets(service.url, bare, reader, writer, given.memories)
            if target.name.startswith(("Litestar", given.only))
        ]
        speeds: dict[str, list[Speed]] = {target.name: [] for target in targets}
        try:
            for target in targets:
                wrk.run(target, seconds=1, connections=given.connections, label="warm")
            for turn in range(given.rounds):
                for target in targets:
                    speed = wrk.run(target, seconds=given.seconds, connections=given.connections, label=str(turn))
                    speeds[target.name].append(speed)
        except wrk.WrkFailed as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    _show(targets, {name: wrk.middle(runs) for name, runs in speeds.items()}, given)
    return 0


def _targets(url: str, bare: str, reader: Account, writer: Account, memories: int) -> list[Target]:
    """Return all targets. Creates go to a customer of their own, or searches would have more to do from round to round."""

    def search(mode: str, name: str) -> Target:
        key = reader.key
        return Target(name=name, url=url, path="/v1/search", method="POST", body="search", mode=mode, key=key)

    return [
        Target(name="Litestar, GET", url=bare, path="/bare"),
        Target(name="Litestar + echo, GET", url=bare, path="/echo"),
        Target(name="get", url=url, path="/v1/memories/{id}", key=reader.key, ids=memories),
        Target(name="Litestar, POST", url=bare, path="/bare", method="POST", body="create"),
        Target(name="Litestar + echo, POST", url=bare, path="/echo", method="POST", body="create"),
        Target(name="create", url=url, path="/v1/memories", method="POST", body="create", key=writer.key),
        search("keyword", "search, keyword"),
        search("auto", "search, hybrid"),
    ]


def _show(targets: Sequence[Target], speeds: dict[str, Speed], given: argparse.Namespace) -> None:
    rows = []
    for target in targets:
        speed = speeds[target.name]
        ratios = (
            f"{speed.per_second / speeds[f'{baseline}, {target.method}'].per_second:.3f}"
            for baseline in ("Litestar", "Litestar + echo")
        )
        rows.append((target.name, f"{speed.per_second:,.0f}", f"{speed.p50_ms:.2f}", f"{speed.p99_ms:.2f}", *ratios))
    title = (
        f"HTTP, {given.connections} connections, {given.memories:,} memories searched, "
        f"median of {given.rounds} rounds of {given.seconds:g} s"
    )
    table.show(title, ("", "requests/s", "p50 ms", "p99 ms", "/ Litestar", "/ Litestar + echo"), rows)


def _fill(account: Account, memories: int) -> None:
    chance = random.Random(_SEED)
    entries: list[dict[str, Any]] = [
        {
            "id": number,
            "content": f"Entry {number}: {' '.join(chance.sample(_WORDS, 14))}.",
            "memory_type": "note",
            "tags": ["work", "planning"],
            "metadata": {"project": "billing"},
            "created_at": "2025-01-01T00:00:00.000000Z",
        }
        for number in range(1, memories + 1)
    ]
    account.post("/v1/import", json={"version": "1.0", "memories": entries}).raise_for_status()
    account.wait_for_embeddings()


@contextmanager
def _bare_server() -> Iterator[str]:
    """Yield the address of the baseline, which runs in two processes as gateway and engine do."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="engram-bare-") as folder:
        path = Path(folder, "echo.sock")
        echo = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.echo", str(path)], cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        assert echo.stdout is not None
        echo.stdout.readline()
        server = subprocess.Popen([sys.executable, "-m", "tests.bench.bare", str(port), str(path)], cwd=ROOT)
        try:
            wait_until(lambda: _answers(f"http://127.0.0.1:{port}/echo"))
            yield f"http://127.0.0.1:{port}"
        finally:
            for process in (server, echo):
                process.terminate()
                process.wait(10)
            echo.stdout.close()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    sys.exit(main())
