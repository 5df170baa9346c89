"""What replication costs of a node's writes: as many as go, on a node that replicates and on one that does not, in turns.

Both nodes run side by side, and only one is written to at a time. Writers go straight to the engines, sixteen at once, and
nothing is embedded, so that the disk and the engine are what bounds them. The replicating node's turn includes its replicator,
which works on the same processors.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from statistics import median
from uuid import uuid4

from engine.catalogue.memory import CREATE, MemoryCreate
from engine.link import Link
from tenants.router import Router
from tests.bench import table
from tests.bench.node import running
from tests.service import Service

_WRITERS = 16
_SIDES = ("off", "directory")


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="scripts/bench writes", description=__doc__)
    options.add_argument("--tenants", type=int, nargs="+", default=[1, 8], help="that the writers share")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=4.0, help="of each node's turn")
    given = options.parse_args()
    print(table.machine())
    with ExitStack() as stack:
        store = stack.enter_context(tempfile.TemporaryDirectory(prefix="engram-bench-store-"))
        settings = {"off": "off", "directory": Path(store).as_uri()}
        nodes = {side: stack.enter_context(running(ENGRAM_REPLICA_URL=settings[side])) for side in _SIDES}
        for tenants in given.tenants:
            rates = asyncio.run(_measure(nodes, tenants, given.rounds, given.seconds))
            baseline = median(rates["off"])
            shares = median(on / off for on, off in zip(rates["directory"], rates["off"], strict=True))
            rows = [
                (side, f"{median(rates[side]):,.0f}", f"{median(rates[side]) / baseline:.3f}", f"{ratio:.3f}")
                for side, ratio in (("off", 1.0), ("directory", shares))
            ]
            table.show(f"{_WRITERS} writers, {tenants} tenants", ("replication", "writes/s", "/ off", "by turns"), rows)


async def _measure(nodes: dict[str, Service], tenants: int, rounds: int, seconds: float) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {side: [] for side in _SIDES}
    names = [
        "db_" + "".join("abcdefghijklmnopqrstuvwxyz234567"[b % 32] for b in (uuid4().bytes * 2)[:20]) for _ in range(tenants)
    ]
    async with AsyncExitStack() as stack:
        routers = {}
        for side, node in nodes.items():
            host = await stack.enter_async_context(Link(node.folder / "run" / "host.sock"))
            routers[side] = await stack.enter_async_context(Router(host, pending=lambda _: None))
        for turn in range(rounds + 1):
            for side in _SIDES if turn % 2 else reversed(_SIDES):
                rate = await _turn(routers[side], names, seconds)
                if turn:  # the first warms both up
                    rates[side].append(rate)
    return rates


async def _turn(router: Router, tenants: list[str], seconds: float) -> float:
    numbers = itertools.count()
    ends_at = time.monotonic() + seconds

    async def write() -> None:
        while time.monotonic() < ends_at:
            number = next(numbers)
            content = (
                f"Write {number}: the meeting about the harbour was moved, and the archive on floor {number % 12} is closed."
            )
            await router.call(tenants[number % len(tenants)], CREATE, MemoryCreate(content=content), deadline_ms=60_000)

    started = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_WRITERS):
            tasks.create_task(write())
    return next(numbers) / (time.monotonic() - started)


if __name__ == "__main__":
    main()
