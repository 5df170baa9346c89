"""On what terms this node has a tenant is asked once, for all who want to know, and anew when that may have changed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from engine.captured import CAPTURED_FILE, FILE_BYTES, Position, encode_slot
from engine.layout import tenant_folder
from engine.ltx import file_name
from tenants.replica.objects import StoreUnavailable
from tenants.replica.ownership.admission import Moved
from tenants.replica.ownership.local import read_local
from tenants.untrusted import Refused
from tests.tenants.conftest import TENANT
from tests.tenants.replica.fault_proxy import Fault, FaultProxy
from tests.tenants.replica.outboxes import Writer
from tests.tenants.replica.replicating import replicating


async def test_many_who_ask_at_once_cost_one_question(tmp_path: Path, proxy: FaultProxy, proxied_url: str) -> None:
    async with replicating(tmp_path, proxied_url) as replication:
        await replication.admissions.of("db_" + "z" * 20)
        before = len(proxy.requests)
        await replication.admissions.of("db_" + "y" * 20)
        one = len(proxy.requests) - before
        before = len(proxy.requests)
        answers = await asyncio.gather(*(replication.admissions.of(TENANT) for _ in range(50)))

        assert len({id(answer) for answer in answers}) == 1
        assert len(proxy.requests) - before == one
        before = len(proxy.requests)
        assert await replication.admissions.of(TENANT) is answers[0]
        assert len(proxy.requests) == before


async def test_what_was_settled_is_asked_anew_even_while_it_is_being_asked(
    tmp_path: Path, proxy: FaultProxy, proxied_url: str
) -> None:
    async with replicating(tmp_path, proxied_url) as replication:
        await replication.tenure.held()
        proxy.plan(Fault.SILENT, containing="owner.json")
        asking = asyncio.create_task(replication.admissions.of(TENANT))
        async with asyncio.timeout(60):
            while not any("owner.json" in path for _, path in proxy.requests):
                await asyncio.sleep(0.01)
        Writer(tmp_path, TENANT).write(3)
        replication.admissions.settled(TENANT)
        proxy.clear()
        try:
            admission = await asking
        except StoreUnavailable:  # the question whose answer never came
            admission = await replication.admissions.of(TENANT)

        assert admission.outcome == "here"


async def test_a_failure_is_not_remembered(tmp_path: Path, proxy: FaultProxy, proxied_url: str) -> None:
    async with replicating(tmp_path, proxied_url) as replication:
        await replication.tenure.held()
        proxy.down()
        with pytest.raises(StoreUnavailable):
            await replication.admissions.of(TENANT)
        proxy.up()
        assert (await replication.admissions.of(TENANT)).outcome == "new"


async def test_another_nodes_tenant_is_not_admitted(tmp_path: Path, store_address: str) -> None:
    async with replicating(tmp_path / "one", store_address) as one, replicating(tmp_path / "two", store_address) as two:
        await one.admissions.of(TENANT)
        with pytest.raises(Moved):
            await two.admissions.of(TENANT)

        assert two.admissions.known(TENANT) is None


async def test_a_node_that_ended_in_order_leaves_its_tenants_to_the_next(tmp_path: Path, store_address: str) -> None:
    async with replicating(tmp_path / "one", store_address) as one:
        await one.admissions.of(TENANT)
    async with replicating(tmp_path / "two", store_address) as two:
        assert (await two.admissions.of(TENANT)).outcome == "new"


async def test_who_stops_waiting_does_not_end_the_question(tmp_path: Path, proxy: FaultProxy, proxied_url: str) -> None:
    async with replicating(tmp_path, proxied_url) as replication:
        await replication.tenure.held()
        impatient = asyncio.create_task(replication.admissions.of(TENANT))
        await asyncio.sleep(0)
        patient = asyncio.create_task(replication.admissions.of(TENANT))
        await asyncio.sleep(0)
        impatient.cancel()

        assert (await patient).outcome == "new"


def test_an_empty_disk_is_nothing(tmp_path: Path) -> None:
    local = read_local(tenant_folder(tmp_path, TENANT))

    assert (local.position, local.has_database, local.outbox) == (None, False, None)


def test_what_an_engine_left_is_read(tmp_path: Path) -> None:
    writer = Writer(tmp_path, TENANT)
    writer.write(4)
    (writer.outbox / file_name(1, 1)).unlink()
    local = read_local(writer.folder)

    assert local.position is not None
    assert (local.position.txid, local.has_database, local.outbox) == (4, True, (2, 4))
    assert local.batch(3) == writer.batches[3]
    assert local.batch(1) is None


@pytest.mark.parametrize("others", [0, 2])
def test_a_file_that_its_engine_has_not_named_yet_waits_too(tmp_path: Path, others: int) -> None:
    writer = Writer(tmp_path, TENANT)
    writer.write(others + 1)
    named = writer.outbox / file_name(writer.txid, writer.txid)
    named.replace(named.with_name(named.name + ".new"))
    local = read_local(writer.folder)

    assert local.outbox == (1, writer.txid)
    assert local.batch(writer.txid) == writer.batches[writer.txid]


@pytest.mark.parametrize(
    "position",
    [
        Position(serial=1, txid=-1),
        Position(serial=1, txid=2**63),
        Position(serial=1, txid=1, pages=2**40),
        Position(serial=1, txid=1, checksum=-5),
        Position(serial=-1, txid=1),
    ],
)
def test_a_position_that_can_not_be_is_none(tmp_path: Path, position: Position) -> None:
    writer = Writer(tmp_path, TENANT)
    (writer.folder / CAPTURED_FILE).write_bytes(encode_slot(position).ljust(FILE_BYTES, b"\0"))

    assert read_local(writer.folder).position is None


@pytest.mark.parametrize("attack", ["link", "pipe", "huge"])
def test_a_position_that_is_no_file_of_the_tenants_is_refused(tmp_path: Path, attack: str) -> None:
    writer = Writer(tmp_path, TENANT)
    path = writer.folder / CAPTURED_FILE
    if attack == "link":
        path.symlink_to("/etc/hostname")
    elif attack == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(bytes(FILE_BYTES + 1))
    with pytest.raises(Refused):
        read_local(writer.folder)
