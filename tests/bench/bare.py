"""What the gateway is compared with: the same server and framework, doing nothing.

``/bare`` answers with a memory that is always the same; ``/echo`` fetches it over a Unix socket from ``tests.bench.echo``. A
POST reads the body of a create first. No keys, no limits, no metrics, no log.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from litestar import Litestar, get, post

from engine.catalogue.memory import Memory, MemoryCreate, Scope
from engine.client import Client
from engine.process import die_with_parent, stop_event

_MEMORY = Memory(
    id=1,
    content="The team in Lisbon moved the quarterly review of the billing migration to the second Tuesday of March.",
    type="note",
    tags=["work", "planning"],
    metadata={"project": "billing"},
    importance=0.5,
    workspace="default",
    scope=Scope(),
    tier="permanent",
    version=1,
    created_at="2025-01-01T00:00:00.000000Z",
    updated_at="2025-01-01T00:00:00.000000Z",
    accessed_at=None,
    access_count=0,
    expires_at=None,
    event_time=None,
    content_hash=f"sha256:{'0' * 64}",
)


def create_app(client: Client) -> Litestar:
    """Return the two endpoints, each for GET and POST."""

    @get("/bare")
    async def bare() -> Memory:
        return _MEMORY

    @post("/bare")
    async def bare_post(data: MemoryCreate) -> Memory:
        return _MEMORY

    @get("/echo")
    async def echo() -> Memory:
        return await client.call("echo", _MEMORY, result_type=Memory)

    @post("/echo")
    async def echo_post(data: MemoryCreate) -> Memory:
        return await client.call("echo", _MEMORY, result_type=Memory)

    return Litestar([bare, bare_post, echo, echo_post], openapi_config=None, logging_config=None)


async def serve(port: int, path: Path) -> None:
    """Serve on ``port`` until SIGTERM, as the gateway does."""
    stop = stop_event(asyncio.get_running_loop())
    async with await Client.connect(path) as client:
        server = Server(
            create_app(client),
            address="127.0.0.1",
            port=port,
            interface=Interfaces.ASGI,
            websockets=False,
            log_enabled=False,
            http1_settings=HTTP1Settings(pipeline_flush=True),
        )
        serving = asyncio.create_task(server.serve())
        await stop.wait()
        server.stop()  # type: ignore[no-untyped-call]
        await serving


if __name__ == "__main__":
    die_with_parent()
    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
