"""The control plane survives the loss of its disk: snapshots after every change, and the newest one on an empty disk."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self

import msgspec
import pytest

from engine.address import listen
from engine.link import Link
from engine.service import Methods, Service
from gateway import control_plane
from gateway.control_plane import ControlPlaneUnknown, bring_back
from tenants.messages.replica import ShipControl
from tenants.registry import snapshots
from tenants.registry.registry import Registry
from tenants.registry.snapshots import Snapshots, SnapshotTooLarge, unpack
from tenants.replica.control import Control
from tenants.replica.stores import open_store
from tests.service import wait_until

ACCOUNT = {"email": "ada@example.com", "password": "ten characters", "organization": "Analytical Engines"}


class Replicator:
    """Its methods for the control plane, on a real store."""

    def __init__(self, data: Path, objects: Path) -> None:
        self.socket = data / "run" / "replica.sock"
        self._objects = objects
        store = open_store(objects.as_uri(), {})
        control = Control(store, None, data)
        self._methods = Methods(
            {
                "ship_control": lambda request: control.ship(msgspec.msgpack.decode(request.params, type=ShipControl)),
                "fetch_control": lambda _: control.fetch(),
            }
        )
        self._service: Service

    async def __aenter__(self) -> Self:
        self._service = Service(self._methods, listen(self.socket), drain_s=1)
        await self._service.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._service.__aexit__(*exc_info)
        self.socket.unlink(missing_ok=True)

    def numbers(self) -> list[int]:
        """Return the snapshots that the store has."""
        folder = self._objects / "control"
        return sorted(int(path.name, 16) for path in folder.iterdir() if len(path.name) == 16) if folder.exists() else []


class Disk:
    """A node's disk, as far as the control plane is concerned."""

    def __init__(self, folder: Path, objects: Path) -> None:
        for name in ("run", "spool"):
            (folder / name).mkdir(parents=True)
        self.database = folder / "control.db"
        self.spool = folder / "spool"
        self.replicator = Replicator(folder, objects)

    def registry(self, master_key: bytes | None = None) -> Registry:
        return Registry(f"sqlite+aiosqlite:///{self.database}", master_key=master_key, signup_plan="free")

    @contextlib.asynccontextmanager
    async def replicated(self, master_key: bytes | None = None) -> AsyncIterator[Registry]:
        """Yield a control plane whose changes are carried away."""
        async with (
            Link(self.replicator.socket) as link,
            self.registry(master_key) as registry,
            Snapshots(registry.engine, link, self.spool),
        ):
            yield registry

    async def bring_back(self) -> bool:
        async with Link(self.replicator.socket) as link:
            return await bring_back(self.database, link, self.spool)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "disk", tmp_path / "objects")


@pytest.fixture
def other_disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "other", tmp_path / "objects")


async def until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, condition)


@pytest.mark.parametrize("master_key", [None, os.urandom(32)], ids=["plain", "sealed"])
async def test_an_empty_disk_has_every_account_again(disk: Disk, other_disk: Disk, master_key: bytes | None) -> None:
    async with disk.replicator, disk.replicated(master_key) as registry:
        account = await registry.sign_up(**ACCOUNT)
        principal = registry.find_key(account.api_key)
        _, revoked = await registry.create_key(principal, name="another", scopes=("read",), expires_at=None)
        await registry.revoke_key(principal, revoked.id)
    async with other_disk.replicator:
        assert await other_disk.bring_back()
        async with other_disk.registry(master_key) as registry:
            assert registry.find_key(account.api_key) == principal
            assert [key.name for key in await registry.list_keys(principal)] == ["first key"]

    assert list(disk.spool.iterdir()) == list(other_disk.spool.iterdir()) == []


async def test_a_change_is_carried_away_without_anybody_waiting_for_it(disk: Disk, other_disk: Disk) -> None:
    async with disk.replicator, disk.replicated() as registry:
        await until(lambda: disk.replicator.numbers() == [1])  # as it was at the start
        account = await registry.sign_up(**ACCOUNT)
        await until(lambda: disk.replicator.numbers() == [1, 2])
        async with other_disk.replicator:
            assert await other_disk.bring_back()
    async with other_disk.registry() as registry:
        assert registry.find_key(account.api_key) is not None


async def test_reading_makes_no_snapshot(disk: Disk) -> None:
    async with disk.replicator, disk.replicated() as registry:
        await until(lambda: disk.replicator.numbers() == [1])
        await registry.ping()
        await registry.database_plans()
    assert disk.replicator.numbers() == [1]


async def test_what_could_not_be_carried_away_is_when_the_replicator_is_back(disk: Disk, other_disk: Disk) -> None:
    async with disk.replicated() as registry:
        account = await registry.sign_up(**ACCOUNT)
        async with disk.replicator:
            await until(lambda: disk.replicator.numbers() == [1])
    async with other_disk.replicator:
        assert await other_disk.bring_back()
    async with other_disk.registry() as registry:
        assert registry.find_key(account.api_key) is not None


async def test_what_is_there_stays(disk: Disk, other_disk: Disk) -> None:
    async with disk.replicator, disk.replicated() as registry:
        await registry.sign_up(**ACCOUNT)
    other_disk.database.write_bytes(b"is there")
    async with other_disk.replicator:
        assert not await other_disk.bring_back()

    assert other_disk.database.read_bytes() == b"is there"


async def test_where_there_never_was_one_a_new_one_may_be_made(disk: Disk) -> None:
    async with disk.replicator:
        assert not await disk.bring_back()

    assert not disk.database.exists()


async def test_while_nobody_can_say_no_new_one_is_made(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_plane, "_WAIT_S", 0.0)
    with pytest.raises(ControlPlaneUnknown):
        await disk.bring_back()

    assert not disk.database.exists()


@pytest.mark.parametrize(
    "content",
    [b"no snapshot", gzip.compress(b"no database" * 1000), gzip.compress(b"x" * 9999)[:40]],
    ids=["nonsense", "no database", "torn"],
)
async def test_a_damaged_snapshot_is_not_opened(disk: Disk, content: bytes) -> None:
    name = "control-" + "0" * 16
    (disk.spool / name).write_bytes(content)
    async with disk.replicator, Link(disk.replicator.socket) as link:
        await link.call("ship_control", ShipControl(name), result_type=msgspec.Raw)
        (disk.spool / name).unlink()
        with pytest.raises(ControlPlaneUnknown):
            await disk.bring_back()

    assert not disk.database.exists()
    assert [path for path in disk.database.parent.iterdir() if path.is_file()] == []
    assert list(disk.spool.iterdir()) == []


async def test_the_log_of_a_database_that_is_gone_is_not_mixed_into_the_one_that_came(disk: Disk, other_disk: Disk) -> None:
    async with disk.replicator, disk.replicated() as registry:
        await registry.sign_up(**ACCOUNT)
    wal = other_disk.database.with_name("control.db-wal")
    wal.write_bytes(b"of another file")
    async with other_disk.replicator:
        assert await other_disk.bring_back()

    assert not wal.exists()
    with contextlib.closing(sqlite3.connect(other_disk.database)) as database:
        assert database.execute("SELECT count(*) FROM people").fetchone() == (1,)


def test_a_snapshot_without_end_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "BYTES_MAX", 10**6)
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(bytes(10**8)))
    with pytest.raises(SnapshotTooLarge):
        unpack(packed, tmp_path / "unpacked")

    assert (tmp_path / "unpacked").stat().st_size <= 2 * 10**6
