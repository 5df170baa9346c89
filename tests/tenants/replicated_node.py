"""A node whose changes are carried into a folder of objects: its programs but for the gateway, and what a test does to it."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from engine.catalogue.memory import CREATE, LIST, MemoryCreate, MemoryList
from engine.catalogue.recovery import FLUSH, Flush, Flushed
from engine.link import Link
from tenants.messages.replica import Replicated, Restore, RestoreDone, RestoreMode, WaitReplicated
from tenants.router import Router
from tests.tenants.conftest import TENANT, Node
from tests.tenants.replica.s3_server import CREDENTIALS

RESTORE_MS = 120_000


@contextmanager
def replicated_node(folder: Path, objects: Path | str) -> Iterator[Node]:
    """Yield a node that was started on what lies in ``folder``. It ends as a deploy ends it: all is captured and shipped.

    ``objects`` is a folder, or the address of the tests' own S3 server.
    """
    shutil.rmtree(folder / "run", ignore_errors=True)  # each start is another node to the store
    url = f"file://{objects}" if isinstance(objects, Path) else objects
    node = Node(folder, environment={"ENGRAM_REPLICA_URL": url, **CREDENTIALS})
    (folder / "spool").mkdir(exist_ok=True)
    try:
        for program in ("engine.fork_server", "tenants.replica.main", "tenants.host.main"):
            node.start(program)
        yield node
    finally:
        node.close()


@asynccontextmanager
async def clients(node: Node) -> AsyncIterator[tuple[Router, Link]]:
    """Yield what a gateway has: a router, and a line to the replicator."""
    async with node.router() as router, Link(node.folder / "run" / "replica.sock") as replica:
        yield router, replica


async def create(router: Router, *contents: str, tenant: str = TENANT) -> None:
    """Store memories, one after the other."""
    for content in contents:
        await router.call(tenant, CREATE, MemoryCreate(content=content))


async def contents(router: Router, tenant: str = TENANT) -> set[str]:
    """Return what the memories say."""
    return {memory.content for memory in (await router.call(tenant, LIST, MemoryList(limit=500))).memories}


async def shipped(router: Router, replica: Link, tenant: str = TENANT) -> int:
    """Have everything shipped, and return a moment at which a restore finds just that."""
    flushed: Flushed = await router.call(tenant, FLUSH, Flush())
    await replica.call("wait", WaitReplicated(tenant, flushed.txid), result_type=Replicated, deadline_ms=60_000)
    now = time.time_ns() // 1_000_000
    await asyncio.sleep(0.005)  # what is captured next has a later one
    return max(flushed.timestamp_ms, now)


async def restore(replica: Link, at_ms: int, mode: RestoreMode, *, into: str = "", tenant: str = TENANT) -> RestoreDone:
    """Ask the replicator as the gateway does."""
    asked = Restore(tenant=tenant, at_ms=at_ms, mode=mode, into=into)
    return await replica.call("restore", asked, result_type=RestoreDone, deadline_ms=RESTORE_MS)
