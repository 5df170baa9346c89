"""The gateway's process.

Start: settings, line to the replicator, control plane (brought back first if the disk has none) and its snapshots, lines to
embedder and host, router, application, the embedding pump, then the port. Stop, in the reverse order: the port takes nothing
new, what is in flight is answered, the pump ends, lines close, what the control plane changed last is carried away.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from contextlib import AsyncExitStack

import structlog
import uvloop
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from engine import log
from engine.embedder.client import EmbedderClient
from engine.link import Link
from engine.process import die_with_parent, raise_descriptor_limit, stop_event, supervisor
from gateway.app import Dependencies, create_app
from gateway.bulk_budget import BulkBudget
from gateway.control_plane import ControlPlaneUnknown, bring_back
from gateway.durability import Durability
from gateway.embedding_pump import EmbeddingPump
from gateway.execution import Execution
from gateway.metrics import Metrics
from gateway.readiness import Parts, ReadinessProbe
from gateway.recovery import Recovery
from gateway.request_log import RequestLog
from gateway.retention import Retention
from gateway.settings import GatewaySettings
from quotas.rate_limiter import RateLimiter
from tenants.registry.registry import Registry
from tenants.registry.snapshots import Snapshots
from tenants.router import Router

_log = structlog.get_logger()

_BACKLOG = 4096
_CONNECTIONS_MAX = 20_000
"""Open at once, idle ones included: past it nobody new is let in, so it must be far above what a few hosts can open."""

_HEADERS_READ_MS = 15_000
"""A client that takes longer to send its headers holds a connection for nothing."""


async def serve(settings: GatewaySettings) -> None:
    """Serve until SIGTERM."""
    run_folder = settings.data_folder / "run"
    async with AsyncExitStack() as stack:
        replicator = await stack.enter_async_context(Link(run_folder / "replica.sock"))
        if settings.replicating:
            await bring_back(settings.database_path, replicator, settings.data_folder / "spool")
        stop = stop_event(asyncio.get_running_loop())  # before, SIGTERM ends us at once: there is nothing to finish
        retention = Retention(replicator)
        registry = await _open_registry(stack, settings, replicator, retention)
        embedder = await stack.enter_async_context(EmbedderClient(run_folder / "embed.sock"))
        host = await stack.enter_async_context(Link(run_folder / "host.sock"))
        budget = BulkBudget()
        pump = EmbeddingPump(embedder, budget)
        router = await stack.enter_async_context(Router(host, pending=pump.note))
        parts = Parts(registry=registry, host=host, embedder=embedder, replicator=replicator)
        app = create_app(
            Dependencies(
                settings=settings,
                registry=registry,
                execution=Execution(router, embedder, pump, budget, Durability(router, replicator)),
                limiter=RateLimiter(time.monotonic),
                readiness=ReadinessProbe(parts),
                metrics=Metrics(parts, pump, budget),
                recovery=Recovery(router, replicator, registry, replicating=settings.replicating),
                request_log=await stack.enter_async_context(RequestLog(sys.stdout.buffer)),
            )
        )
        server = Server(
            app,
            address=settings.host,
            port=settings.port,
            interface=Interfaces.ASGI,
            websockets=False,
            backlog=_BACKLOG,
            backpressure=_CONNECTIONS_MAX,
            log_enabled=False,
            http1_settings=HTTP1Settings(header_read_timeout=_HEADERS_READ_MS),
        )
        async with asyncio.TaskGroup() as tasks:
            loops = [tasks.create_task(pump.run(router))]
            if settings.replicating:
                loops.append(tasks.create_task(retention.run(registry)))
            serving = tasks.create_task(server.serve())
            _keep_collections_short()
            _log.info("gateway_started", pid=os.getpid(), host=settings.host, port=settings.port)
            await stop.wait()
            server.stop()  # type: ignore[no-untyped-call]
            await serving
            for loop in loops:
                loop.cancel()
    _log.info("gateway_stopped")


async def _open_registry(stack: AsyncExitStack, settings: GatewaySettings, replicator: Link, retention: Retention) -> Registry:
    """Return the control plane, which is replicated from now on."""
    registry = await stack.enter_async_context(
        Registry(
            settings.database_url,
            master_key=settings.master_key,
            signup_plan=settings.signup_plan,
            database_made=retention.note,
        )
    )
    if settings.replicating:
        await stack.enter_async_context(Snapshots(registry.engine, replicator, settings.data_folder / "spool"))
    return registry


def _keep_collections_short() -> None:
    """Spare the collector what lives as long as we do: looking over it each time took tens of milliseconds of a request."""
    gc.collect()
    gc.freeze()


def main() -> None:
    """Run the gateway in this process."""
    die_with_parent(supervisor(os.environ))
    raise_descriptor_limit()
    log.configure("gateway")
    try:
        uvloop.run(serve(GatewaySettings.from_environment(os.environ)))
    except ControlPlaneUnknown as error:
        _log.critical("control_plane_unknown", reason=str(error))  # the supervisor has us try again
        sys.exit(1)


if __name__ == "__main__":
    main()
