"""The replicator's process beside a real fork server, a real host and real engines that are written to."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.catalogue.memory import CREATE, MemoryCreate
from engine.catalogue.recovery import FLUSH, Flush, Flushed
from engine.layout import tenant_folder
from engine.link import Link
from engine.protocol import ErrorCode, RemoteError
from engine.store.connection import open_reader, preload
from tenants.messages.replica import (
    AskBackups,
    Backups,
    ControlFetched,
    Prepare,
    Prepared,
    ReplicaStatus,
    Replicated,
    WaitReplicated,
)
from tenants.replica.history.rebuild import rebuild
from tenants.router import Router
from tests.service import wait_until
from tests.tenants.conftest import OTHER, TENANT, Node
from tests.tenants.replica.fault_proxy import Fault, FaultProxy
from tests.tenants.replica.outboxes import Writer
from tests.tenants.replica.replicating import replicating, tree_at
from tests.tenants.replica.s3_server import CREDENTIALS

PROGRAMS = ("engine.fork_server", "tenants.replica.main", "tenants.host.main")
REPLICATOR = "tenants.replica.main"


@pytest.fixture(autouse=True, scope="module")
def _extensions() -> None:
    preload()


def make_node(folder: Path, url: str, *, idle_s: float = 300) -> Node:
    node = Node(folder, idle_s=idle_s, environment={"ENGRAM_REPLICA_URL": url, **CREDENTIALS})
    for program in PROGRAMS:
        node.start(program)
    return node


@pytest.fixture
def store_node(tmp_path: Path, store_address: str) -> Iterator[Node]:
    """A node with a store of either kind."""
    node = make_node(tmp_path / "data", store_address)
    yield node
    node.close()


@pytest.fixture
def proxied_node(tmp_path: Path, proxied_url: str) -> Iterator[Node]:
    """A node with a bucket behind the proxy."""
    node = make_node(tmp_path / "data", proxied_url)
    yield node
    node.close()


def url_of(node: Node) -> str:
    return node.environment["ENGRAM_REPLICA_URL"]


async def create(router: Router, tenant: str, count: int, *, first: int = 0) -> None:
    for number in range(first, first + count):
        await router.call(tenant, CREATE, MemoryCreate(content=f"memory {number} of {tenant}"), idempotency_key=f"n{number}")


async def replicated(node: Node, router: Router, tenant: str) -> int:
    """Have everything captured, wait until it is in the store, and return the last transaction."""
    flushed: Flushed = await router.call(tenant, FLUSH, Flush())
    async with Link(node.folder / "run" / "replica.sock") as replicator:
        asked = WaitReplicated(tenant, flushed.txid)
        answer = await replicator.call("wait", asked, result_type=Replicated, deadline_ms=60_000)
    assert answer.txid >= flushed.txid
    return answer.txid


async def status(node: Node) -> ReplicaStatus:
    async with Link(node.folder / "run" / "replica.sock") as replicator:
        return await replicator.call("status", result_type=ReplicaStatus)


def restored(node: Node, tenant: str, folder: Path) -> bytes:
    """Return the database as the store has it."""
    with tree_at(folder, url_of(node), tenant) as tree:
        rebuild(tree, folder / "restored.db")
    return (folder / "restored.db").read_bytes()


def contents(path: Path) -> list[str]:
    connection = open_reader(path)
    try:
        return sorted(text for (text,) in connection.execute("SELECT content FROM memories"))
    finally:
        connection.close()


def outbox_of(node: Node, tenant: str) -> list[str]:
    return [path.name for path in (tenant_folder(node.folder, tenant) / "outbox").iterdir()]


async def test_what_engines_write_is_in_the_store_when_it_is_said_to_be(store_node: Node, tmp_path: Path) -> None:
    node = store_node
    async with node.router() as router:
        await asyncio.gather(create(router, TENANT, 30), create(router, OTHER, 10))
        await replicated(node, router, TENANT)
        await replicated(node, router, OTHER)
        for tenant, count in ((TENANT, 30), (OTHER, 10)):
            restored(node, tenant, tmp_path)

            assert contents(tmp_path / "restored.db") == sorted(f"memory {n} of {tenant}" for n in range(count))
        told = await status(node)

    assert told.replicating
    assert told.reachable
    assert told.shipped_total >= 2
    assert told.lease_s > 0
    assert (told.fenced, told.stuck, told.refused) == (0, 0, 0)


async def test_what_could_be_restored_is_told(store_node: Node) -> None:
    node = store_node
    async with node.router() as router, Link(node.folder / "run" / "replica.sock") as replicator:
        await create(router, TENANT, 3)
        txid = await replicated(node, router, TENANT)
        told = await replicator.call("backups", AskBackups(TENANT), result_type=Backups)
        unknown = await replicator.call("backups", AskBackups(OTHER), result_type=Backups)
        with pytest.raises(RemoteError) as refused:
            await replicator.call("backups", AskBackups("../x"), result_type=Backups)

    assert told.replicating
    assert told.txid == txid
    assert told.earliest is not None
    assert told.replicated_to is not None
    assert told.earliest <= told.replicated_to
    assert (unknown.txid, unknown.earliest, unknown.replicated_to) == (0, None, None)
    assert refused.value.code == ErrorCode.INVALID


async def test_a_graceful_stop_ships_everything(store_node: Node, tmp_path: Path) -> None:
    """Host, engines, replicator: the order in which the supervisor ends them. Then the file is the store's, byte for byte."""
    node = store_node
    async with node.router() as router:
        await create(router, TENANT, 25)
    for program in ("tenants.host.main", "engine.fork_server", REPLICATOR):
        assert node.stop(program) == 0

    assert outbox_of(node, TENANT) == []
    assert restored(node, TENANT, tmp_path) == (tenant_folder(node.folder, TENANT) / "memory.db").read_bytes()
    assert "lease_released" in node.log()


async def test_a_replicator_that_is_killed_while_engines_write_loses_nothing(store_node: Node, tmp_path: Path) -> None:
    node = store_node
    async with node.router() as router:
        for round_number in range(6):
            writing = asyncio.create_task(create(router, TENANT, 20, first=20 * round_number))
            await asyncio.sleep(0.05 * round_number)
            node.stop(REPLICATOR, signal.SIGKILL)
            node.start(REPLICATOR)
            await writing
        await replicated(node, router, TENANT)

    restored(node, TENANT, tmp_path)
    assert contents(tmp_path / "restored.db") == sorted(f"memory {n} of {TENANT}" for n in range(120))


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.INTERNAL, Fault.RESET], ids=lambda fault: fault.name)
async def test_a_store_on_a_bad_day_is_nothing_that_writers_notice(
    proxied_node: Node, proxy: FaultProxy, tmp_path: Path, fault: Fault
) -> None:
    node = proxied_node
    async with node.router() as router:
        await create(router, TENANT, 1)
        for number in range(5):
            proxy.plan(fault, containing="/ltx/", times=2)
            await create(router, TENANT, 5, first=1 + 5 * number)
            await replicated(node, router, TENANT)
    proxy.clear()

    restored(node, TENANT, tmp_path)
    assert len(contents(tmp_path / "restored.db")) == 26


async def test_an_outage_of_the_store_is_none_of_the_service(proxied_node: Node, proxy: FaultProxy, tmp_path: Path) -> None:
    node = proxied_node
    async with node.router() as router:
        await create(router, TENANT, 5)
        await replicated(node, router, TENANT)
        proxy.down()
        for number in range(8):
            await create(router, TENANT, 5, first=5 + 5 * number)
            await router.call(TENANT, FLUSH, Flush())
        await asyncio.to_thread(wait_until, lambda: not asyncio.run(status(node)).reachable)
        assert outbox_of(node, TENANT) != []
        proxy.up()
        await replicated(node, router, TENANT)
        told = await status(node)

    assert told.reachable
    restored(node, TENANT, tmp_path)
    assert len(contents(tmp_path / "restored.db")) == 45


async def test_a_tenant_that_another_node_took_is_served_no_more(store_node: Node, tmp_path: Path) -> None:
    node = store_node
    async with node.router() as router:
        await create(router, TENANT, 3)
        txid = await replicated(node, router, TENANT)
        intruder = Writer(tmp_path / "elsewhere", TENANT)
        intruder.txid = txid
        intruder.write(whole=True)
        (file,) = intruder.outbox.iterdir()
        with tree_at(tmp_path, url_of(node), TENANT) as tree:
            info = tree.info(0, txid, txid)
            assert info is not None
            tree.put(0, txid + 1, txid + 1, file.read_bytes(), info)
        await create(router, TENANT, 1, first=100)
        await asyncio.to_thread(wait_until, lambda: asyncio.run(status(node)).fenced == 1)
        codes = set()
        while ErrorCode.MOVED not in codes:
            try:
                await create(router, TENANT, 1, first=200)
            except RemoteError as error:
                codes.add(error.code)

    assert outbox_of(node, TENANT) != []


async def test_a_node_without_a_store_only_counts(tmp_path: Path) -> None:
    node = make_node(tmp_path, "off")
    try:
        async with node.router() as router, Link(tmp_path / "run" / "replica.sock") as replicator:
            await create(router, TENANT, 1)
            told = await replicator.call("status", result_type=ReplicaStatus)
            backups = await replicator.call("backups", AskBackups(TENANT), result_type=Backups)
            prepared = await replicator.call("prepare", Prepare(TENANT), result_type=Prepared)
            fetched = await replicator.call("fetch_control", result_type=ControlFetched)
            with pytest.raises(RemoteError) as refused:
                await replicator.call("wait", WaitReplicated(TENANT, 1), result_type=Replicated)
    finally:
        node.close()

    assert (told.replicating, told.tenants, told.requests_total) == (False, 1, {})
    assert not backups.replicating
    assert (prepared.staged, prepared.rebase, fetched.name) == (None, None, None)
    assert refused.value.code == ErrorCode.UNAVAILABLE
    assert not (tmp_path / "replica").exists()


async def test_replicators_that_start_on_one_disk_are_its_successors(tmp_path: Path, store_address: str) -> None:
    """After a power cut the machine comes up as another node, and its own lease of before keeps nothing from it."""
    writer = Writer(tmp_path, TENANT)
    async with replicating(tmp_path, store_address) as replication:
        replication.tenure.release = _nothing  # type: ignore[method-assign]
        writer.write(2)
        replication.shipping.look(TENANT)
        await replication.shipping.wait(TENANT, 2)
    (tmp_path / "run" / "node").unlink()
    writer.write(2)
    async with replicating(tmp_path, store_address) as replication:
        async with asyncio.timeout(60):
            await replication.shipping.wait(TENANT, 4)
        admission = replication.admissions.known(TENANT)

    assert admission is not None
    assert admission.epoch == 2
    with tree_at(tmp_path, store_address, TENANT) as tree:
        writer.check(tree, tmp_path / "spool")


async def _nothing() -> None:
    """End as after a power cut: the lease is left as it is."""


async def test_an_engine_whose_outbox_lost_a_file_is_started_anew_and_goes_on_with_a_whole_one(
    store_node: Node, tmp_path: Path
) -> None:
    node = store_node
    async with node.router() as router:
        await create(router, TENANT, 3)
        await replicated(node, router, TENANT)
        node.stop(REPLICATOR)
        await create(router, TENANT, 2, first=3)
        await router.call(TENANT, FLUSH, Flush())
        await create(router, TENANT, 2, first=5)
        await router.call(TENANT, FLUSH, Flush())
        (tenant_folder(node.folder, TENANT) / "outbox" / min(outbox_of(node, TENANT))).unlink()
        node.start(REPLICATOR)
        await asyncio.to_thread(wait_until, lambda: "tenant_admitted" in node.log().partition("lease_released")[2])
        await create(router, TENANT, 3, first=7)
        await router.call(TENANT, FLUSH, Flush())
        await asyncio.to_thread(wait_until, lambda: "engine_started_anew" in node.log(), 60)
        await asyncio.to_thread(wait_until, lambda: not outbox_of(node, TENANT), 60)
        await replicated(node, router, TENANT)

    restored(node, TENANT, tmp_path)
    assert contents(tmp_path / "restored.db") == sorted(f"memory {n} of {TENANT}" for n in range(10))
