"""The embedding process: ``python -m engine.embedder.main``.

Order of the start: die with the parent, log, listen, look for the model. Order of the end, on SIGTERM or SIGINT: stop
accepting, let what is in flight finish and the clients hang up, refuse what is left, end the model's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

import structlog

from engine.address import listen
from engine.embedder.server import Embedder
from engine.embedder.settings import PREPARED_MODELS, Settings
from engine.log import configure
from engine.process import die_with_parent, stop_event, supervisor
from engine.protocol import Hello
from engine.service import Methods, Service

_DRAIN_S = 3.0
"""Longer than any query waits; what a document loses is embedded again later."""

_log = structlog.get_logger()


async def run(settings: Settings) -> None:
    """Serve until told to stop."""
    stop = stop_event(asyncio.get_running_loop())
    settings.socket.parent.mkdir(parents=True, exist_ok=True)
    async with contextlib.AsyncExitStack() as resources:
        embedder = await resources.enter_async_context(Embedder(settings))
        service = Service(
            Methods(embedder.methods()),
            listen(settings.socket),
            hello=lambda: Hello(service="embedder"),
            drain_s=_DRAIN_S,
        )
        await resources.enter_async_context(service)
        _log.info("listening", socket=str(settings.socket), model=settings.model)
        await stop.wait()
        _log.info("stopping")
        await service.drain()
        embedder.refuse()


def main() -> int:
    """Run the process and return its exit code."""
    die_with_parent(supervisor(os.environ))
    configure("embedder")
    settings = Settings.read(os.environ)
    if settings.model in PREPARED_MODELS:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the library is imported: nothing is fetched, only prepared
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread, of ours, is what tokenizing gets
    asyncio.run(run(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
