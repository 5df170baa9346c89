"""The fork server moves a staged database into a tenant's folder, and the engine takes it in at its next start."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from engine.catalogue.memory import CREATE, LIST, MemoryCreate, MemoryList
from engine.catalogue.recovery import (
    FLUSH,
    PREVIEW_DATABASE,
    RESTORE_DATABASE,
    RESTORE_NOTE,
    STAGED_DATABASE,
    STAGED_NOTE,
    Flush,
    Flushed,
)
from engine.layout import engine_socket, tenant_folder
from engine.link import Link
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.processes import EngineProcess, Fork
from engine.sandbox.adoption import STAGING
from engine.store.connection import preload
from tenants.messages import replica
from tenants.router import Router
from tests.engine.restoring import make, note_for
from tests.service import wait_until
from tests.tenants.adopting import adopt, stage
from tests.tenants.conftest import TENANT, Node


@pytest.fixture
def restored(tmp_path: Path) -> bytes:
    """A database without a memory."""
    preload()
    return make(tmp_path / "source")


async def gone(node: Node) -> None:
    await asyncio.to_thread(wait_until, lambda: TENANT not in node.engines())


async def remembered(router: Router) -> list[str]:
    return [memory.content for memory in (await router.call(TENANT, LIST, MemoryList())).memories]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_all_of_us_mean_the_same_folder() -> None:
    assert STAGING == replica.STAGING


async def test_what_is_staged_moves_into_a_folder_that_is_made_for_it(fork_server: Node, restored: bytes) -> None:
    staged = stage(fork_server.folder, restored, note_for(restored, "same", txid=1))
    note = (staged / STAGED_NOTE).read_bytes()
    await adopt(fork_server.folder, TENANT, staged.name)
    folder = tenant_folder(fork_server.folder, TENANT)

    assert names(folder) == {"outbox", RESTORE_DATABASE, RESTORE_NOTE}
    assert (folder / RESTORE_DATABASE).read_bytes() == restored
    assert (folder / RESTORE_NOTE).read_bytes() == note
    assert not staged.exists()


async def test_a_check_leaves_nothing_that_keeps_the_folder(fork_server: Node, restored: bytes) -> None:
    staged = stage(fork_server.folder, restored, note_for(restored, "same", txid=1))
    for name in ("engine.lock", f"{STAGED_DATABASE}-wal", f"{STAGED_DATABASE}-shm"):
        (staged / name).write_bytes(b"")
    await adopt(fork_server.folder, TENANT, staged.name)

    assert not staged.exists()


async def test_the_engine_serves_what_it_was_given(node: Node, restored: bytes) -> None:
    async with node.router() as router:
        await router.call(TENANT, CREATE, MemoryCreate(content="made since"))
        os.kill(node.engines()[TENANT], signal.SIGTERM)
        await gone(node)
        staged = stage(node.folder, restored, note_for(restored, "earlier"))
        await adopt(node.folder, TENANT, staged.name)

        assert await remembered(router) == []
        assert (await router.call(TENANT, CREATE, MemoryCreate(content="after the restore"))).id == 2


async def test_not_while_the_engine_runs(node: Node, restored: bytes) -> None:
    staged = stage(node.folder, restored, note_for(restored, "earlier"))
    async with node.router() as router:
        await router.call(TENANT, CREATE, MemoryCreate(content="kept"))
        with pytest.raises(RemoteError) as refused:
            await adopt(node.folder, TENANT, staged.name)

        assert refused.value.code == ErrorCode.UNAVAILABLE
        assert names(staged) == {STAGED_DATABASE, STAGED_NOTE}
        assert RESTORE_DATABASE not in names(tenant_folder(node.folder, TENANT))
        assert await remembered(router) == ["kept"]


async def test_a_preview_is_given_to_an_engine_that_runs(node: Node, restored: bytes) -> None:
    staged = stage(node.folder, restored, note_for(restored, "earlier"))
    async with node.router() as router:
        await router.call(TENANT, CREATE, MemoryCreate(content="kept"))
        await adopt(node.folder, TENANT, staged.name, preview=True)

        assert not staged.exists()
        assert (tenant_folder(node.folder, TENANT) / PREVIEW_DATABASE).read_bytes() == restored
        assert RESTORE_NOTE not in names(tenant_folder(node.folder, TENANT))
        assert await remembered(router) == ["kept"]


async def test_an_engine_is_told_where_its_history_goes_on(fork_server: Node) -> None:
    async with Link(fork_server.folder / "run" / "fork.sock") as link:
        await link.call("fork", Fork(TENANT, rebase=5), result_type=EngineProcess)
    async with Link(engine_socket(fork_server.folder, TENANT)) as engine:
        flushed = await engine.call(FLUSH.name, Flush(), result_type=Flushed)

    assert flushed.txid == 6


@pytest.mark.parametrize("name", ["", ".", "..", "../run", "a/b", "x" * 65, "ä", "a\0b", "a b", "a\n"])
async def test_a_name_that_is_none_is_refused(fork_server: Node, name: str) -> None:
    with pytest.raises(RemoteError) as refused:
        await adopt(fork_server.folder, TENANT, name)

    assert (refused.value.code, refused.value.details) == (ErrorCode.INVALID, {"field": "staged"})


@pytest.mark.parametrize("tenant", ["", "db_", "../../run", TENANT.upper()])
async def test_so_is_a_tenant_that_is_none(fork_server: Node, restored: bytes, tenant: str) -> None:
    staged = stage(fork_server.folder, restored, note_for(restored, "same", txid=1))
    with pytest.raises(RemoteError) as refused:
        await adopt(fork_server.folder, tenant, staged.name)

    assert (refused.value.code, refused.value.details) == (ErrorCode.INVALID, {"field": "tenant"})
    assert names(staged) == {STAGED_DATABASE, STAGED_NOTE}


@pytest.mark.parametrize("missing", [STAGED_DATABASE, STAGED_NOTE, "folder"])
async def test_what_is_not_there_is_not_adopted_and_leaves_no_tenants_folder(
    fork_server: Node, restored: bytes, missing: str
) -> None:
    staged = stage(fork_server.folder, restored, note_for(restored, "same", txid=1))
    (staged.rename(staged.with_name("elsewhere")) if missing == "folder" else (staged / missing).unlink())
    with pytest.raises(RemoteError) as refused:
        await adopt(fork_server.folder, TENANT, staged.name)

    assert refused.value.code == ErrorCode.UNAVAILABLE
    assert not tenant_folder(fork_server.folder, TENANT).exists()
