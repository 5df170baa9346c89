"""What the object store holds comes back: on an empty disk by itself, at any moment when somebody asks."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from engine.catalogue.lifecycle import QUARANTINE_FILE
from engine.catalogue.recovery import RESTORE_PREVIEW, RestorePreview
from engine.layout import tenant_folder
from engine.link import Link
from engine.protocol import ErrorCode, RemoteError
from tenants.messages.replica import STAGING, RestoreDone
from tenants.replica import layout
from tenants.replica.history.timeline import earliest_ms
from tests.tenants.conftest import OTHER, TENANT
from tests.tenants.replica.histories import set_ahead
from tests.tenants.replica.replicating import tree_at
from tests.tenants.replicated_node import clients, contents, create, replicated_node, restore, shipped

HOUR_MS = 3_600_000


async def refused(replica: Link, at_ms: int, mode: str = "in_place", **more: str) -> RemoteError:
    with pytest.raises(RemoteError) as error:
        await restore(replica, at_ms, mode, **more)  # type: ignore[arg-type]
    return error.value


async def test_an_empty_disk_has_every_tenant_back_on_its_first_request(tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    with replicated_node(tmp_path / "first", objects) as node:
        async with clients(node) as (router, _):
            await create(router, "one", "two")
            await create(router, "of the other", tenant=OTHER)

    with replicated_node(tmp_path / "second", objects) as node:
        async with clients(node) as (router, replica):
            assert await contents(router) == {"one", "two"}
            await create(router, "three")
            await shipped(router, replica)
            assert await contents(router, OTHER) == {"of the other"}

    with replicated_node(tmp_path / "third", objects) as node:
        async with clients(node) as (router, _):
            assert await contents(router) == {"one", "two", "three"}


async def test_a_disk_of_last_week_takes_the_newest_state(tmp_path: Path) -> None:
    objects, data = tmp_path / "objects", tmp_path / "data"
    with replicated_node(data, objects) as node:
        async with clients(node) as (router, _):
            await create(router, "of last week")
    shutil.copytree(data / "tenants", tmp_path / "copy")
    with replicated_node(data, objects) as node:
        async with clients(node) as (router, _):
            await create(router, "of today")
    shutil.rmtree(data / "tenants")
    (tmp_path / "copy").rename(data / "tenants")

    with replicated_node(data, objects) as node:
        async with clients(node) as (router, replica):
            assert await contents(router) == {"of last week", "of today"}
            await create(router, "goes on")
            await shipped(router, replica)

    with replicated_node(tmp_path / "empty", objects) as node:
        async with clients(node) as (router, _):
            assert await contents(router) == {"of last week", "of today", "goes on"}


async def test_a_restart_on_the_same_disk_fetches_nothing(tmp_path: Path) -> None:
    objects, data = tmp_path / "objects", tmp_path / "data"
    with replicated_node(data, objects) as node:
        async with clients(node) as (router, _):
            await create(router, "one")
    with replicated_node(data, objects) as node:
        async with clients(node) as (router, replica):
            assert await contents(router) == {"one"}
            await create(router, "two")
            await shipped(router, replica)
        assert '"restored_database_adopted"' not in node.log()


async def test_a_moment_is_restored_in_place_and_taken_back(tmp_path: Path) -> None:
    with replicated_node(tmp_path / "data", tmp_path / "objects") as node:
        async with clients(node) as (router, replica):
            await create(router, "one")
            at_ms = await shipped(router, replica)
            await create(router, "two", "three")  # not flushed: what is under way counts as well
            done = await restore(replica, at_ms, "in_place")

            assert (done.memories, await contents(router)) == (1, {"one"})
            assert done.restored_to_ms <= at_ms <= done.before_ms
            await create(router, "four")
            await shipped(router, replica)
            undone = await restore(replica, done.before_ms, "in_place")
            assert await contents(router) == {"one", "two", "three"}
            await restore(replica, undone.before_ms, "in_place")
            assert await contents(router) == {"one", "four"}
        assert not list((node.folder / STAGING).iterdir())


async def test_a_restore_is_taken_back_where_the_clock_was_fast_and_is_set_back(tmp_path: Path) -> None:
    """What was stored then is later than now, and so is all that follows on it."""
    data, objects = tmp_path / "data", tmp_path / "objects"
    with replicated_node(data, objects) as node:
        async with clients(node) as (router, replica):
            await create(router, "one")
            await shipped(router, replica)
            await create(router, "two")
    with tree_at(data, objects.as_uri(), TENANT) as tree:
        set_ahead(tree, HOUR_MS)
        first_ms = earliest_ms(tree)
    assert first_ms is not None

    with replicated_node(data, objects) as node:
        async with clients(node) as (router, replica):
            await create(router, "three")
            await shipped(router, replica)
            done = await restore(replica, first_ms, "in_place")
            assert await contents(router) == {"one"}
            assert done.before_ms > time.time() * 1000
            await restore(replica, done.before_ms, "in_place")

            assert await contents(router) == {"one", "two", "three"}


async def test_a_fork_is_another_tenant_with_a_history_of_its_own(tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    with replicated_node(tmp_path / "data", objects) as node:
        async with clients(node) as (router, replica):
            await create(router, "one")
            at_ms = await shipped(router, replica)
            await create(router, "two")
            done = await restore(replica, at_ms, "fork", into=OTHER)

            assert (done.memories, await contents(router, OTHER)) == (1, {"one"})
            assert await contents(router) == {"one", "two"}
            await create(router, "of the fork", tenant=OTHER)
            await shipped(router, replica, OTHER)
            error = await refused(replica, at_ms, "fork", into=OTHER)
            assert (error.code, error.details["field"]) == (ErrorCode.INVALID, "into")

    with replicated_node(tmp_path / "empty", objects) as node:
        async with clients(node) as (router, _):
            assert await contents(router, OTHER) == {"one", "of the fork"}


async def test_a_preview_changes_nothing(tmp_path: Path) -> None:
    with replicated_node(tmp_path / "data", tmp_path / "objects") as node:
        async with clients(node) as (router, replica):
            await create(router, "one")
            at_ms = await shipped(router, replica)
            await create(router, "two")
            await restore(replica, at_ms, "preview")
            report = await router.call(TENANT, RESTORE_PREVIEW, RestorePreview())

            assert (report.added, report.changed, report.deleted) == (0, 0, 1)
            assert await contents(router) == {"one", "two"}


async def test_a_damaged_database_is_restored_to_the_newest_state(tmp_path: Path) -> None:
    with replicated_node(tmp_path / "data", tmp_path / "objects") as node:
        folder = tenant_folder(node.folder, TENANT)
        async with clients(node) as (router, replica):
            await create(router, "kept in the store")
            await shipped(router, replica)
            await asyncio.to_thread(node.stop, "engine.fork_server")
            (folder / "memory.db").write_bytes(b"something else entirely, and quite long" * 1000)
            node.start("engine.fork_server")
            with pytest.raises(RemoteError) as error:
                await contents(router)
            assert error.value.code == ErrorCode.DATABASE_CORRUPT
            assert (folder / QUARANTINE_FILE).exists()
            await restore(replica, int(time.time() * 1000) + HOUR_MS, "in_place")

            assert await contents(router) == {"kept in the store"}
            await create(router, "and goes on")
            await shipped(router, replica)


async def test_moments_that_are_too_early_are_refused_and_later_ones_are_now(tmp_path: Path) -> None:
    with replicated_node(tmp_path / "data", tmp_path / "objects") as node:
        async with clients(node) as (router, replica):
            error = await refused(replica, int(time.time() * 1000))
            assert (error.code, error.details["field"]) == (ErrorCode.INVALID, "at")
            before_ms = int(time.time() * 1000) - 1000
            await create(router, "one")
            await shipped(router, replica)
            error = await refused(replica, before_ms)
            assert (error.code, error.details["field"]) == (ErrorCode.INVALID, "at")
            assert "earliest" in error.message
            await restore(replica, int(time.time() * 1000) + HOUR_MS, "in_place")

            assert await contents(router) == {"one"}


async def test_one_restore_of_a_database_at_a_time(tmp_path: Path) -> None:
    with replicated_node(tmp_path / "data", tmp_path / "objects") as node:
        async with clients(node) as (router, replica):
            await create(router, "one")
            at_ms = await shipped(router, replica)
            await create(router, "two")
            outcomes = await asyncio.gather(*(restore(replica, at_ms, "in_place") for _ in range(3)), return_exceptions=True)

            assert sum(isinstance(outcome, RestoreDone) for outcome in outcomes) == 1
            errors = [outcome for outcome in outcomes if isinstance(outcome, RemoteError)]
            assert [(error.code, error.details["retry_after"] >= 1) for error in errors] == [(ErrorCode.TOO_MANY, True)] * 2
            assert await contents(router) == {"one"}


async def test_an_erased_tenant_is_not_served_and_not_restored(tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    with replicated_node(tmp_path / "data", objects) as node:
        async with clients(node) as (router, replica):
            await create(router, "one")
            at_ms = await shipped(router, replica)
    tombstone = objects / layout.tombstone_key(TENANT)
    tombstone.write_bytes(b"{}")

    with replicated_node(tmp_path / "empty", objects) as node:
        async with clients(node) as (router, replica):
            with pytest.raises(RemoteError) as error:
                await contents(router)
            assert error.value.code == ErrorCode.NOT_FOUND
            assert (await refused(replica, at_ms)).code == ErrorCode.NOT_FOUND
            await create(router, "unharmed", tenant=OTHER)


async def test_what_an_earlier_replicator_has_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "data" / STAGING / "left"
    left.mkdir(parents=True)
    (left / "memory.db").write_bytes(b"half of it")
    with replicated_node(tmp_path / "data", tmp_path / "objects"):
        assert not left.exists()


@pytest.mark.parametrize("tenant", ["../../etc", "", "db_" + "A" * 20])
async def test_what_is_no_tenants_name_is_restored_by_nobody(tmp_path: Path, tenant: str) -> None:
    with replicated_node(tmp_path / "data", tmp_path / "objects") as node:
        async with clients(node) as (_, replica):
            for mode, more in (("in_place", {}), ("fork", {"into": OTHER})):
                assert (await refused(replica, 1, mode, tenant=tenant, **more)).code == ErrorCode.INVALID
            assert (await refused(replica, 1, "fork", into=tenant)).code == ErrorCode.INVALID
