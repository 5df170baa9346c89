"""Many clients that ask again as soon as they are answered, for so many seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from tests.bench import table
from tests.bench.peers.system import Client, System


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One run."""

    per_second: float
    p50_ms: float
    p99_ms: float


def speed(times_ms: list[float], seconds: float) -> Speed:
    """Return the figures of the times that a run's requests took."""
    return Speed(
        per_second=len(times_ms) / seconds,
        p50_ms=table.percentile(times_ms, 0.5),
        p99_ms=table.percentile(times_ms, 0.99),
    )


async def searches(system: System, queries: Iterator[str], *, clients: int, seconds: float) -> Speed:
    """Search in all conversations."""

    async def search(client: Client) -> None:
        if not await client.search(next(queries)):
            raise AssertionError(f"{system.name} found nothing")

    return await _run(system, search, clients, seconds)


async def writes(system: System, texts: Iterator[str], *, clients: int, seconds: float) -> Speed:
    """Store memories one by one."""

    async def write(client: Client) -> None:
        await client.write(next(texts))

    return await _run(system, write, clients, seconds)


async def _run(system: System, work: Callable[[Client], Awaitable[None]], clients: int, seconds: float) -> Speed:
    connected = [await system.connect() for _ in range(clients)]
    times_ms: list[float] = []
    began = time.perf_counter()

    async def ask(client: Client) -> None:
        while (asked := time.perf_counter()) < began + seconds:
            await work(client)
            times_ms.append((time.perf_counter() - asked) * 1000)

    try:
        async with asyncio.TaskGroup() as group:
            for client in connected:
                group.create_task(ask(client))
    finally:
        for client in connected:
            client.close()
    return speed(times_ms, time.perf_counter() - began)
