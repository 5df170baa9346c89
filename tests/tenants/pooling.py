"""A pool in the test's own process, beside a real fork server with real engines: its bounds can be set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from engine.catalogue import Operation
from engine.client import Client
from engine.link import Link
from tenants.host.pool import Pool
from tenants.host.suspicion import Suspicion

AMPLE = 1 << 40


@asynccontextmanager
async def running_pool(
    folder: Path,
    *,
    idle_s: float = 300,
    memory_bytes_max: int = AMPLE,
    slack_s: float = 1.0,
    busy_s: float = 60.0,
    ending_s: float = 60.0,
    replica: Link | None = None,
    kill_after_s: float = 30.0,
) -> AsyncIterator[Pool]:
    """Yield a pool that knows what runs and minds it. ``slack_s`` to ``ending_s`` are what engines are given to answer, and to
    end; ``replica`` is whom it asks before it starts one."""
    pool = Pool(folder, idle_s=idle_s, memory_bytes_max=memory_bytes_max, replica=replica, kill_after_s=kill_after_s)
    pool.suspicion = Suspicion(terminate=pool.link.terminate, slack_s=slack_s, busy_s=busy_s, ending_s=ending_s)
    async with asyncio.TaskGroup() as tasks:
        loops = [tasks.create_task(loop) for loop in pool.loops()]
        await pool.link.wait_connected()
        yield pool
        for loop in loops:
            loop.cancel()


async def ask(pool: Pool, tenant: str, operation: Operation[Any, Any], arguments: Any) -> Any:
    """Return an engine's answer, asked over a new connection."""
    async with await Client.connect(await pool.ensure(tenant)) as client:
        return await client.call(operation.name, arguments, result_type=operation.result)


async def eventually(condition: Any, seconds: float = 30) -> None:
    """Wait for a condition, or a coroutine function's; fail when it has not come true for far longer than it can take."""
    async with asyncio.timeout(seconds):
        while True:
            outcome = condition()
            if await outcome if asyncio.iscoroutine(outcome) else outcome:
                return
            await asyncio.sleep(0.05)
