"""Histories are merged when there are files enough, and proven once a day where something changed. Idle ones cost nothing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.catalogue.lifecycle import CheckReport
from tenants.messages.replica import Backups, ReplicaStatus
from tenants.replica.layout import ltx_key, owner_key
from tenants.replica.maintenance import daily
from tenants.replica.maintenance.care import Care
from tenants.replica.maintenance.daily import DAY_MS
from tenants.replica.maintenance.schedule import Maintenance
from tenants.replica.maintenance.upkeep import Records, Upkeep
from tenants.replica.ownership.lease import NodeLease
from tenants.replica.ownership.owner import Owner
from tenants.replica.replication import Replication
from tests.tenants.conftest import OTHER, TENANT
from tests.tenants.replica.outboxes import Writer
from tests.tenants.replica.replicating import replicating

DAY_S = DAY_MS / 1000


class Days:
    """Maintenance of a running replicator, done when a test says so, on a day that it says."""

    def __init__(self, data: Path, replication: Replication) -> None:
        self.later_s = 0.0
        self.store_ms: float | None = None
        self.problems: list[str] = []
        self.replication = replication
        care = Care(
            data,
            random=Random(1),
            wall=lambda: time.time() + self.later_s,
            check=self._check,
            store_ms=lambda: self.store_ms,
        )
        self.maintenance = Maintenance(replication.trees, replication.admissions, replication.shipping, data, care=care)

    def _check(self, _: Path) -> CheckReport:
        return CheckReport(problems=self.problems)

    async def ship(self, writer: Writer, count: int) -> None:
        writer.write(count)
        self.replication.shipping.look(writer.tenant)
        await self.replication.shipping.wait(writer.tenant, writer.txid)

    async def look(self) -> int:
        """Do what is due; return how many requests that made."""
        before = sum(self.replication.trees.store.requests.values())
        await self.maintenance.merge_due()
        await self.maintenance.prove_due()
        return sum(self.replication.trees.store.requests.values()) - before

    async def next_day(self) -> int:
        self.later_s += DAY_S
        return await self.look()

    def status(self) -> ReplicaStatus:
        status = ReplicaStatus(replicating=True, tenants=0, bytes=0, scanned_at=0)
        self.maintenance.add_to(status)
        return status

    def backups(self, tenant: str = TENANT) -> Backups:
        backups = Backups(replicating=True)
        self.maintenance.add_proofs(tenant, backups)
        return backups

    def levels(self, tenant: str = TENANT) -> dict[int, list[tuple[int, int]]]:
        tree = self.replication.trees.of(tenant)
        found = {level: [(each.min_txid, each.max_txid) for each in tree.entries(level)] for level in (0, 1, 2, 3, 9)}
        return {level: files for level, files in found.items() if files}


@contextlib.asynccontextmanager
async def days(data: Path) -> AsyncIterator[Days]:
    async with replicating(data, f"file://{data}/objects") as replication:
        found = Days(data, replication)
        await found.maintenance.load()
        yield found


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path, TENANT)


async def test_files_are_merged_when_there_are_enough(tmp_path: Path, writer: Writer) -> None:
    async with days(tmp_path) as node:
        await node.ship(writer, 63)
        await node.look()
        assert set(node.levels()) == {0}
        await node.ship(writer, 2)
        await node.look()

        assert node.levels()[1] == [(1, 64)]
        assert await node.look() == 0


async def test_a_day_brings_a_proof_and_a_snapshot_and_the_next_nothing(tmp_path: Path, writer: Writer) -> None:
    async with days(tmp_path) as node:
        await node.ship(writer, 5)
        assert node.backups().last_verified_at is None
        await node.look()
        assert set(node.levels()) == {0}
        await node.next_day()

        assert node.levels()[9] == [(1, 5)]
        assert node.backups().last_verified_at is not None
        assert node.backups().last_snapshot_at is not None
        assert (node.status().drills_total, node.status().drills_failed) == (1, 0)
        assert await node.next_day() == 0
        assert node.status().drills_total == 1

        await node.ship(writer, 1)
        await node.look()
        await node.next_day()
        assert node.levels()[9] == [(1, 5), (1, 6)]


async def test_nothing_is_given_up_until_it_was_said_how_long_it_is_kept(tmp_path: Path, writer: Writer) -> None:
    async with days(tmp_path) as node:
        await node.ship(writer, 5)
        await node.look()
        await node.next_day()
        await node.ship(writer, 1)
        await node.look()
        await node.next_day()
        assert len(node.levels()[0]) == 6

        await node.maintenance.set_retention({TENANT: int(30 * DAY_S), OTHER: 60})
        await node.ship(writer, 1)
        await node.look()
        await node.next_day()
        assert len(node.levels()[0]) == 7

        await node.maintenance.set_retention({TENANT: 3600})
        assert node.backups().retention_s == 3600
        await node.ship(writer, 1)
        await node.look()
        await node.next_day()
        assert node.levels() == {0: [(8, 8)], 9: [(1, 8)]}
    async with days(tmp_path) as node:
        assert node.backups().retention_s == 3600
        assert node.backups(OTHER).retention_s == 60


async def test_what_is_too_old_goes_though_nothing_changes_any_more(tmp_path: Path, writer: Writer) -> None:
    async with days(tmp_path) as node:
        await node.maintenance.set_retention({TENANT: int(2 * DAY_S)})
        await node.ship(writer, 3)
        await node.look()
        await node.next_day()
        await node.ship(writer, 1)
        await node.look()
        await node.next_day()
        assert node.levels() == {0: [(1, 1), (2, 2), (3, 3), (4, 4)], 9: [(1, 3), (1, 4)]}
        for _ in range(3):  # two days, and some hours for the clock
            await node.next_day()
        assert node.levels() == {0: [(4, 4)], 9: [(1, 4)]}
        assert await node.next_day() == 0


async def test_a_clock_that_is_days_fast_gives_nothing_up(tmp_path: Path, writer: Writer) -> None:
    async with days(tmp_path) as node:
        node.store_ms = time.time() * 1000
        await node.maintenance.set_retention({TENANT: 3600})
        for _ in range(3):
            await node.ship(writer, 1)
            await node.look()
            await node.next_day()
        assert len(node.levels()[0]) == 3

        node.store_ms = None
        await node.ship(writer, 1)
        await node.look()
        await node.next_day()
        assert len(node.levels()[0]) == 1


async def test_a_drill_that_fails_alarms_gives_nothing_up_and_is_made_again(tmp_path: Path, writer: Writer) -> None:
    async with days(tmp_path) as node:
        await node.maintenance.set_retention({TENANT: 0})
        await node.ship(writer, 5)
        await node.look()
        await node.next_day()
        await node.ship(writer, 2)
        node.problems = ["a row is missing"]
        verified_at = node.backups().last_verified_at
        await node.look()
        await node.next_day()

        assert "a row is missing" in node.backups().verification_error
        assert node.backups().last_verified_at == verified_at
        assert node.status().drills_failed == 1
        assert [first for first, _ in node.levels()[0]] == [5, 6, 7]
        assert node.levels()[9] == [(1, 5)]
        node.problems = []
        await node.next_day()
        assert node.status().drills_failed == 0
        assert node.backups().verification_error == ""


async def test_a_damaged_file_does_not_stop_what_is_done_for_others(tmp_path: Path, writer: Writer) -> None:
    other = Writer(tmp_path, OTHER)
    async with days(tmp_path) as node:
        await node.ship(writer, 64)
        await node.ship(other, 64)
        node.replication.trees.store.delete([ltx_key(TENANT, 0, 7, 7)])
        await node.look()
        await node.next_day()

        assert node.levels(OTHER)[1] == [(1, 64)]
        assert node.backups(OTHER).last_verified_at is not None
        assert "7" in node.backups(TENANT).verification_error


async def test_what_had_changed_is_known_after_a_restart(tmp_path: Path, writer: Writer) -> None:
    async with days(tmp_path) as node:
        await node.ship(writer, 5)
        await node.look()
    async with days(tmp_path) as node:
        await node.next_day()
        assert node.levels()[9] == [(1, 5)]
        verified_at = node.backups().last_verified_at
    async with days(tmp_path) as node:
        assert node.backups().last_verified_at == verified_at
        assert await node.next_day() == 0


async def test_another_disk_knows_of_the_last_drill_from_the_store(tmp_path: Path, writer: Writer) -> None:
    async with days(tmp_path) as node:
        await node.ship(writer, 5)
        await node.look()
        await node.next_day()
        verified_at = node.backups().last_verified_at
    for path in (tmp_path / "replication").glob("*/*.json"):
        path.unlink()
    async with days(tmp_path) as node:
        await node.replication.admissions.of(TENANT)
        await node.look()

        assert verified_at is not None
        assert node.backups().last_verified_at == verified_at


async def test_a_tenant_that_was_taken_by_another_node_is_let_go(tmp_path: Path, writer: Writer) -> None:
    async with days(tmp_path) as node:
        await node.ship(writer, 5)
        await node.look()
        store = node.replication.trees.store
        NodeLease(store, "elsewhere").acquire()
        store.replace(owner_key(TENANT), msgspec.json.encode(Owner(node="elsewhere", epoch=9)), tag=None)
        node.replication.admissions.settled(TENANT)
        await node.next_day()

        assert 9 not in node.levels()
        assert list(Records(tmp_path).all()) == []


def test_records_that_make_no_sense_are_none(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.write(TENANT, Upkeep(changed_txid=3))
    records.write(OTHER, Upkeep(changed_txid=4))
    (tmp_path / "replication" / "aa" / f"{TENANT}.json").write_bytes(b'{"changed_txid": "x"}')
    (tmp_path / "replication" / "aa" / "else.json").write_bytes(b"{}")
    (tmp_path / "replication" / "retention.json").write_bytes(b"[")

    assert [tenant for tenant, _ in records.all()] == [OTHER]
    assert records.retention() == {}


@given(
    tenant=st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=20, max_size=20).map("db_{}".format),
    changed_at=st.integers(0, 10 * DAY_MS),
    steps=st.lists(st.integers(1, DAY_MS), min_size=1, max_size=20),
)
def test_a_turn_comes_once_a_day(tenant: str, changed_at: int, steps: list[int]) -> None:
    now, turns = changed_at, []
    tried_at = 0
    for step in steps:
        now += step
        if daily.is_due(tenant, now, changed_at=changed_at, tried_at=tried_at):
            turns.append(now)
            tried_at = now

    # At most once between two turns, and never a whole day late.
    assert len(turns) <= (now - changed_at) // DAY_MS + 1
    assert len({daily.last_turn(tenant, turn) for turn in turns}) == len(turns)
    assert turns or now < changed_at + DAY_MS


def test_turns_are_spread_over_the_day() -> None:
    turns = sorted(daily.last_turn(f"db_{number:020d}", 100 * DAY_MS) for number in range(1000))
    assert max(later - earlier for earlier, later in pairwise(turns)) < DAY_MS / 50


def test_a_clock_that_was_set_back_holds_nothing_up() -> None:
    now = 100 * DAY_MS
    assert daily.is_due(TENANT, now, changed_at=now + DAY_MS, tried_at=now + DAY_MS)
