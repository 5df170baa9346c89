"""The replicator's process: answers on ``run/replica.sock``, and carries what engines leave in their outboxes to a store.

It holds the store's credentials and tenants' keys, no API key, and opens no tenant's database. At SIGTERM it ships what waits
before it ends; the supervisor stops it after the engines, which capture what they wrote last.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack

import structlog

from engine import log
from engine.address import listen
from engine.process import die_with_parent, raise_descriptor_limit, stop_event, supervisor
from engine.protocol import Hello
from engine.service import Methods, Service
from tenants.replica.answers import Answers
from tenants.replica.census import Census
from tenants.replica.objects import StoreRefused, StoreUnavailable
from tenants.replica.replication import Replication
from tenants.replica.settings import ReplicatorSettings, SettingsFault
from tenants.replica.stores import StoreUrlError
from tenants.replica.watcher import Watcher

_log = structlog.get_logger()


async def serve(settings: ReplicatorSettings) -> None:
    """Serve until SIGTERM."""
    stop = stop_event(asyncio.get_running_loop())
    census = Census(Watcher(settings.tenants_folder, verifies=not settings.replicates))
    async with AsyncExitStack() as stack:
        replication = await stack.enter_async_context(Replication(settings)) if settings.replicates else None
        methods = Methods(Answers(census, replication).methods)
        listening = listen(settings.run_folder / "replica.sock")
        async with (
            asyncio.TaskGroup() as tasks,
            Service(methods, listening, hello=lambda: Hello(service="replicator"), drain_s=2.0),
        ):
            loops = [tasks.create_task(census.run())]
            if replication is not None:
                loops.append(tasks.create_task(replication.run()))
            await stop.wait()
            if replication is not None:
                await replication.finish()  # who waits for what is shipped now is still answered
            for loop in loops:
                loop.cancel()


async def _serve_and_exit(settings: ReplicatorSettings) -> None:
    await serve(settings)
    sys.stdout.flush()
    os._exit(0)  # threads may hang at a store that does not answer, and an interpreter that ends waits for them


def main() -> None:
    """Run the replicator in this process."""
    die_with_parent(supervisor(os.environ))
    raise_descriptor_limit()
    log.configure("replicator")
    try:
        asyncio.run(_serve_and_exit(ReplicatorSettings.from_environment(os.environ)))
    except (SettingsFault, StoreUrlError, StoreRefused, StoreUnavailable) as error:
        _log.error("replicator_can_not_run", reason=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
