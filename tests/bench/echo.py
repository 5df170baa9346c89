"""The smallest service on a Unix socket: our protocol, our server, and an answer that is the question."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from engine.address import listen
from engine.process import die_with_parent, stop_event
from engine.protocol import Request
from engine.service import Responder, Service


class _Echo:
    def dispatch(self, request: Request, responder: Responder) -> None:
        responder.result(request.params)


async def serve(path: Path) -> None:
    """Serve at ``path`` until SIGTERM, on the loop that engines use."""
    stop = stop_event(asyncio.get_running_loop())
    async with Service(_Echo(), listen(path), drain_s=1.0):
        print("ready", flush=True)
        await stop.wait()


if __name__ == "__main__":
    die_with_parent()
    asyncio.run(serve(Path(sys.argv[1])))
