"""The replicator within a test's own process, and what a test asks of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec

from engine.address import listen
from engine.protocol import Hello, Request
from engine.service import Methods, Service
from tenants.messages.host import Held, Hold
from tenants.messages.replica import ReplicaStatus
from tenants.replica.replication import Replication
from tenants.replica.settings import ReplicatorSettings
from tenants.replica.stores import open_store
from tenants.replica.tree import Tree
from tenants.replica.trees import Trees
from tests.tenants.replica.s3_server import CREDENTIALS

WAIT_S = 60.0


def settings_for(data: Path, url: str, *, master_key: bytes | None = None) -> ReplicatorSettings:
    """Return a replicator's, and make the folders that the node makes."""
    for folder in ("run/engines", "spool", "tenants"):
        (data / folder).mkdir(parents=True, exist_ok=True)
    return ReplicatorSettings(data_folder=data, url=url, master_key=master_key, environment=CREDENTIALS)


@contextlib.asynccontextmanager
async def replicating(data: Path, url: str, *, master_key: bytes | None = None) -> AsyncIterator[Replication]:
    """Replicate as long as the block is in. It ends as after a crash: nothing more is shipped."""
    async with Replication(settings_for(data, url, master_key=master_key)) as replication:
        running = asyncio.create_task(replication.run())
        try:
            yield replication
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


@contextlib.asynccontextmanager
async def host_that_hears(data: Path) -> AsyncIterator[list[Hold]]:
    """Play the host, and yield what it was told to hold."""
    held: list[Hold] = []

    async def hold(request: Request) -> Held:
        held.append(msgspec.msgpack.decode(request.params, type=Hold))
        return Held()

    (data / "run").mkdir(parents=True, exist_ok=True)
    methods = Methods({"hold": hold})
    async with Service(methods, listen(data / "run" / "host.sock"), hello=lambda: Hello(service="host"), drain_s=0.1):
        yield held


@contextlib.contextmanager
def tree_at(data: Path, url: str, tenant: str, *, master_key: bytes | None = None) -> Iterator[Tree]:
    """Yield the tenant's tree as somebody else opens it."""
    store = open_store(url, CREDENTIALS)
    try:
        yield Trees(store, master_key, data / "spool").of(tenant)
    finally:
        store.close()


def status_of(replication: Replication) -> ReplicaStatus:
    """Return what the replicator tells of its work."""
    return replication.add_to(ReplicaStatus(replicating=False, tenants=0, bytes=0, scanned_at=0))


async def until(condition: Callable[[], object]) -> None:
    """Return when the condition holds; fail only after far longer than that can take."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)
