"""What engines leave in their outboxes reaches the store: all of it, once, in order, whatever happens on the way."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from engine.ltx import file_name
from engine.ltx.limits import TIMESTAMP_MS_MAX
from engine.protocol import ErrorCode, RemoteError
from tenants.replica import outbox
from tenants.replica.history.rebuild import rebuild
from tenants.replica.history.timeline import moment_of
from tenants.replica.layout import INCREMENTS
from tenants.replica.replication import Replication
from tenants.replica.shipping import steps
from tenants.replica.shipping.figures import Figures
from tests.tenants.conftest import OTHER, TENANT
from tests.tenants.replica.fault_proxy import Fault, FaultProxy
from tests.tenants.replica.outboxes import Writer
from tests.tenants.replica.replicating import host_that_hears, replicating, status_of, tree_at, until

MASTER_KEY = bytes(range(32))


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path, TENANT)


def check(data: Path, url: str, *writers: Writer, master_key: bytes | None = None) -> None:
    for each in writers:
        with tree_at(data, url, each.tenant, master_key=master_key) as tree:
            each.check(tree, data / "spool")
        assert each.waiting() == []
    assert not list((data / "spool").glob("parcel-*"))


async def shipped(replication: Replication, *writers: Writer) -> None:
    async with asyncio.timeout(60):
        for each in writers:
            assert await replication.shipping.wait(each.tenant, each.txid) >= each.txid
    await until(lambda: not any(each.waiting() for each in writers))


@pytest.mark.parametrize("master_key", [None, MASTER_KEY], ids=["plain", "sealed"])
async def test_everything_is_shipped_once_and_in_order(
    tmp_path: Path, store_address: str, writer: Writer, master_key: bytes | None
) -> None:
    async with replicating(tmp_path, store_address, master_key=master_key) as replication:
        writer.live()
        for _ in range(10):
            writer.write(3)
            await shipped(replication, writer)
        writer.write(5, whole=True)
        await shipped(replication, writer)
        status = status_of(replication)

        assert status.shipped_total == writer.txid
        assert status.reachable
        assert status.encrypted == (master_key is not None)
        assert replication.shipping.changed() == {TENANT: writer.txid}
    check(tmp_path, store_address, writer, master_key=master_key)


async def test_times_ascend_whatever_the_engines_clock_says_and_all_of_it_can_be_restored(
    tmp_path: Path, store_address: str, writer: Writer
) -> None:
    """A clock was hours fast and set back, or an engine that was taken over has written the end of the calendar."""
    async with replicating(tmp_path, store_address) as replication:
        writer.live()
        for ahead_ms in (3_600_000, 0, TIMESTAMP_MS_MAX // 2, 0):
            writer.at_ms = time.time_ns() // 1_000_000 + ahead_ms if ahead_ms else 0
            writer.write(2)
            await shipped(replication, writer)
        ended_ms = time.time_ns() // 1_000_000
    check(tmp_path, store_address, writer)
    with tree_at(tmp_path, store_address, TENANT) as tree:
        moments = [moment_of(tree, entry) for entry in tree.entries(INCREMENTS)]
        times = [moment.at_ms for moment in moments if moment is not None]
        rebuilt = rebuild(tree, tmp_path / "middle", at_ms=times[4])

    assert times == sorted(set(times))
    assert len(times) == writer.txid
    assert times[-1] < ended_ms + writer.txid
    assert (rebuilt.txid, rebuilt.timestamp_ms) == (5, times[4])


async def test_more_files_than_are_looked_at_together_are_shipped_after_days_without_a_store(
    tmp_path: Path, store_address: str, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "FILES_MAX", 4)
    writer.write(13)
    async with replicating(tmp_path, store_address) as replication:
        await shipped(replication, writer)
        writer.live()
        writer.write(9)
        await shipped(replication, writer)
    check(tmp_path, store_address, writer)


async def test_a_large_file_goes_through_the_spool(tmp_path: Path, store_address: str, writer: Writer) -> None:
    async with replicating(tmp_path, store_address) as replication:
        writer.live()
        writer.write(pages=6000)  # 3 MB
        writer.write(3, pages=6000)
        await shipped(replication, writer)
    check(tmp_path, store_address, writer)


async def test_outboxes_are_emptied_at_the_start_running_or_not(tmp_path: Path, store_address: str, writer: Writer) -> None:
    other = Writer(tmp_path, OTHER)
    writer.write(7)
    other.write(2)
    other.live()
    async with replicating(tmp_path, store_address) as replication:
        await shipped(replication, writer, other)
    check(tmp_path, store_address, writer, other)


async def test_a_file_whose_answer_was_lost_in_a_crash_is_found_and_removed(
    tmp_path: Path, store_address: str, writer: Writer
) -> None:
    """The process ended between putting and removing: the files lie here and there."""
    writer.write(4)
    kept = {name: (writer.outbox / name).read_bytes() for name in writer.waiting()}
    async with replicating(tmp_path, store_address) as replication:
        await shipped(replication, writer)
    for count in (1, 3, 4):
        for name in list(kept)[-count:]:
            (writer.outbox / name).write_bytes(kept[name])
        async with replicating(tmp_path, store_address) as replication:
            await shipped(replication, writer)
    writer.write(2)
    async with replicating(tmp_path, store_address) as replication:
        await shipped(replication, writer)
    check(tmp_path, store_address, writer)


FAULTS = [Fault.LOST, Fault.RESET, Fault.CUT_UPLOAD, Fault.CONFLICT, Fault.INTERNAL, Fault.SLOW_DOWN, Fault.TRUNCATED]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_a_store_on_a_bad_day_gets_it_all_the_same(
    tmp_path: Path, proxy: FaultProxy, proxied_url: str, writer: Writer, fault: Fault
) -> None:
    """Every other request to the tenant's tree is spoiled."""
    async with replicating(tmp_path, proxied_url) as replication:
        writer.live()
        writer.write(2)
        await shipped(replication, writer)
        for _ in range(6):
            proxy.plan(fault, containing="/ltx/", skip=1, times=2)
            writer.write(2)
            await shipped(replication, writer)
    proxy.clear()
    check(tmp_path, proxied_url, writer)


async def test_a_store_that_is_gone_is_caught_up_with_when_it_is_back(
    tmp_path: Path, proxy: FaultProxy, proxied_url: str, writer: Writer
) -> None:
    others = [Writer(tmp_path, "db_" + letter * 20) for letter in "cdefgh"]
    async with replicating(tmp_path, proxied_url) as replication:
        for each in (writer, *others):
            each.live()
            each.write()
        await shipped(replication, writer, *others)
        proxy.down()
        for each in (writer, *others):
            each.write(20)
        await until(lambda: not status_of(replication).reachable)
        proxy.up()
        await shipped(replication, writer, *others)

        assert status_of(replication).reachable
        assert status_of(replication).failures_total >= 3
    check(tmp_path, proxied_url, writer, *others)


async def test_who_waits_is_answered_when_it_is_there(
    tmp_path: Path, proxy: FaultProxy, proxied_url: str, writer: Writer
) -> None:
    async with replicating(tmp_path, proxied_url) as replication:
        writer.live()
        waiting = asyncio.create_task(replication.shipping.wait(TENANT, 3))
        writer.write(2)
        await until(lambda: replication.shipping.head(TENANT) is not None and not writer.waiting())
        assert not waiting.done()
        proxy.down()
        writer.write()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await replication.shipping.wait(TENANT, 3)
        proxy.up()
        async with asyncio.timeout(60):
            assert await waiting == 3
            assert await replication.shipping.wait(TENANT, 1) == 3


async def test_who_waits_for_what_an_earlier_process_shipped_is_answered(
    tmp_path: Path, store_address: str, writer: Writer
) -> None:
    writer.write(3)
    async with replicating(tmp_path, store_address) as replication:
        await shipped(replication, writer)
    async with replicating(tmp_path, store_address) as replication:
        async with asyncio.timeout(60):
            assert await replication.shipping.wait(TENANT, 3) == 3


async def test_what_is_no_tenant_is_refused(tmp_path: Path, store_address: str) -> None:
    async with replicating(tmp_path, store_address) as replication:
        with pytest.raises(RemoteError) as refused:
            await replication.shipping.wait("../../etc", 1)

    assert refused.value.code == ErrorCode.INVALID


async def test_another_writers_file_fences_and_the_host_is_told(tmp_path: Path, store_address: str, writer: Writer) -> None:
    """A node that was taken for dead finds another's file where its own was to be."""
    impostor = Writer(tmp_path / "elsewhere", TENANT)
    async with host_that_hears(tmp_path) as held, replicating(tmp_path, store_address) as replication:
        writer.live()
        writer.write(2)
        await shipped(replication, writer)
        with tree_at(tmp_path, store_address, TENANT) as tree:
            impostor.txid = 2
            impostor.write()
            (name,) = impostor.waiting()
            info = tree.info(0, 2, 2)
            tree.put(0, 3, 3, (impostor.outbox / name).read_bytes(), info.__class__(**{**vars(info), "batch": "0" * 64}))
        waiting = asyncio.create_task(replication.shipping.wait(TENANT, 4))
        writer.write(2)
        await until(lambda: held)
        with pytest.raises(RemoteError) as moved:
            await waiting

        assert moved.value.code == ErrorCode.MOVED
        assert [each.tenant for each in held] == [TENANT]
        assert len(writer.waiting()) == 2
        assert replication.shipping.fenced == 1
        with pytest.raises(RemoteError):
            await replication.shipping.wait(TENANT, 4)


async def test_a_tenant_that_another_node_has_is_held_and_its_files_stay(tmp_path: Path, store_address: str) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    writer = Writer(theirs, TENANT)
    async with replicating(theirs, store_address) as elsewhere:
        writer.write(2)
        await until(lambda: not writer.waiting())
        stray = Writer(ours, TENANT)
        stray.write(3)
        async with host_that_hears(ours) as held, replicating(ours, store_address) as here:
            await until(lambda: held)

            assert here.shipping.fenced == 1
            assert len(stray.waiting()) == 3
        writer.write()
        elsewhere.shipping.look(TENANT)
        await shipped(elsewhere, writer)
    check(theirs, store_address, writer)


async def test_a_host_that_is_not_there_is_told_later(tmp_path: Path, store_address: str) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    async with replicating(theirs, store_address) as elsewhere:
        writer = Writer(theirs, TENANT)
        writer.write(2)
        elsewhere.shipping.look(TENANT)
        await shipped(elsewhere, writer)
        Writer(ours, TENANT).write(3)
        async with replicating(ours, store_address) as here:
            await until(lambda: here.shipping.fenced)
            async with host_that_hears(ours) as held:
                await until(lambda: held)


async def test_files_that_are_not_what_they_say_stop_their_tenant_and_nobody_else(
    tmp_path: Path, store_address: str, writer: Writer
) -> None:
    other = Writer(tmp_path, OTHER)
    async with replicating(tmp_path, store_address) as replication:
        writer.live()
        other.live()
        writer.write(3)
        await shipped(replication, writer)
        spoiled = writer.outbox / file_name(4, 4)
        spoiled.with_suffix(".draft").write_bytes(b"LTX1" + bytes(300))
        spoiled.with_suffix(".draft").replace(spoiled)
        await until(lambda: replication.shipping.stuck == 1)
        other.write(5)
        await shipped(replication, other)

        assert replication.shipping.refused == 1
        assert writer.waiting() == [spoiled.name]
        spoiled.unlink()
        writer.write(2)
        await shipped(replication, writer)
        assert replication.shipping.stuck == 0
    check(tmp_path, store_address, writer, other)


async def test_a_gap_stops_its_tenant_until_it_is_filled(tmp_path: Path, store_address: str, writer: Writer) -> None:
    held_back = tmp_path / "held back"
    async with replicating(tmp_path, store_address) as replication:
        writer.write(2)
        replication.shipping.look(TENANT)
        await shipped(replication, writer)
        writer.write(3)
        (writer.outbox / file_name(3, 3)).replace(held_back)
        for _ in range(5):
            replication.shipping.look(TENANT)
            await asyncio.sleep(0.1)
        assert len(writer.waiting()) == 2
        assert replication.shipping.stuck == 1
        held_back.replace(writer.outbox / file_name(3, 3))
        await shipped(replication, writer)
        assert replication.shipping.stuck == 0
    check(tmp_path, store_address, writer)


async def test_nothing_is_shipped_while_this_disk_does_not_continue_what_the_store_has(
    tmp_path: Path, store_address: str, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file was lost here, so the engine must go on with a whole one. Until it does, and as soon as it has."""
    monkeypatch.setattr(steps, "UNFIT_PAUSE_S", 0.1)
    writer.write(2)
    async with replicating(tmp_path, store_address) as replication:
        await shipped(replication, writer)
    writer.write(3)
    (writer.outbox / file_name(3, 3)).unlink()
    async with replicating(tmp_path, store_address) as replication:
        await until(lambda: replication.admissions.known(TENANT) is not None)
        assert len(writer.waiting()) == 2
        for name in writer.waiting():
            (writer.outbox / name).unlink()
        writer.txid = 2
        writer.live()
        writer.write(whole=True)
        writer.write(2)
        await shipped(replication, writer)
    check(tmp_path, store_address, writer)


async def test_a_tenant_that_does_nothing_costs_no_request(
    tmp_path: Path, proxy: FaultProxy, proxied_url: str, writer: Writer
) -> None:
    async with replicating(tmp_path, proxied_url) as replication:
        writer.live()
        writer.write(2)
        await shipped(replication, writer)
        before = len(proxy.requests)
        for _ in range(3):
            writer.sleep()
            writer.live()
            replication.shipping.look(TENANT)
            await asyncio.sleep(0.1)
        idle = Writer(tmp_path, OTHER)
        idle.live()
        await until(lambda: replication.discovery.live == 2)
        await asyncio.sleep(0.2)

        assert [path for _, path in proxy.requests[before:] if "/nodes/" not in path] == []


async def test_the_end_ships_what_waits(tmp_path: Path, store_address: str, writer: Writer) -> None:
    other = Writer(tmp_path, OTHER)
    async with replicating(tmp_path, store_address) as replication:
        writer.live()
        writer.write()
        await shipped(replication, writer)
        writer.write(30)
        other.write(30)
        await replication.finish()

        assert (writer.waiting(), other.waiting()) == ([], [])
    check(tmp_path, store_address, writer, other)


async def test_the_end_does_not_wait_for_a_store_that_is_gone(
    tmp_path: Path, proxy: FaultProxy, proxied_url: str, writer: Writer
) -> None:
    async with replicating(tmp_path, proxied_url) as replication:
        writer.live()
        writer.write()
        await shipped(replication, writer)
        proxy.down()
        writer.write(3)
        await replication.finish()

        assert len(writer.waiting()) == 3
        proxy.up()
    async with replicating(tmp_path, proxied_url) as replication:
        await shipped(replication, writer)
    check(tmp_path, proxied_url, writer)


async def test_a_lost_lease_has_everybody_admitted_anew(tmp_path: Path, store_address: str, writer: Writer) -> None:
    async with replicating(tmp_path, store_address) as replication:
        writer.live()
        writer.write(2)
        await shipped(replication, writer)
        before = replication.admissions.known(TENANT)
        assert before is not None
        replication.tenure.generation += 1
        assert replication.admissions.known(TENANT) is None
        writer.write(2)
        await shipped(replication, writer)

        after = replication.admissions.known(TENANT)
        assert after is not None
        assert after is not before
        assert after.outcome == "here"
    check(tmp_path, store_address, writer)


def test_lags_are_of_the_last_thousand() -> None:
    figures = Figures()
    for number in range(3000):
        figures.note(tenant=TENANT, txid=number, size=1, lag_s=float(number))

    assert (figures.lag_s(0.5), figures.lag_s(0.99), figures.shipped) == (2499.0, 2989.0, 3000)
    assert Figures().lag_s(0.99) == 0.0
