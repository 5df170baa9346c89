"""A running engine compares a state that it is given with its own, and tells what must not come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.catalogue.lifecycle import QUARANTINE_FILE
from engine.catalogue.memory import CREATE, DELETE, GET, LIST, MemoryCreate, MemoryDelete, MemoryGet, MemoryList
from engine.catalogue.recovery import (
    FORGET,
    PREVIEW_DATABASE,
    PURGES,
    RESTORE_PREVIEW,
    Difference,
    Forget,
    ListPurges,
    PreviewReport,
    RestorePreview,
)
from engine.layout import tenant_folder
from engine.protocol import ErrorCode, RemoteError
from engine.store.connection import preload
from tenants.router import Router
from tests.engine.restoring import make, note_for
from tests.tenants.adopting import adopt, stage
from tests.tenants.conftest import OTHER, TENANT, Node


@pytest.fixture
def empty(tmp_path: Path) -> bytes:
    """A database without a memory."""
    preload()
    return make(tmp_path / "source")


@pytest.fixture
async def router(node: Node) -> AsyncIterator[Router]:
    """A router, and a tenant with two memories."""
    async with node.router() as router:
        for content in ("of the harbour", "of the lighthouse"):
            await router.call(TENANT, CREATE, MemoryCreate(content=content))
        yield router


async def lend(node: Node, data: bytes, name: str = "preview-1") -> None:
    staged = stage(node.folder, data, note_for(data, "earlier", name=name))
    await adopt(node.folder, TENANT, staged.name, preview=True)


async def test_it_compares_while_others_are_answered(node: Node, router: Router, empty: bytes) -> None:
    await lend(node, empty)
    report, memory = await asyncio.gather(
        router.call(TENANT, RESTORE_PREVIEW, RestorePreview()), router.call(TENANT, GET, MemoryGet(id=1))
    )

    assert report == PreviewReport(
        deleted=2,
        examples=[
            Difference(id=2, change="deleted", content="of the lighthouse"),
            Difference(id=1, change="deleted", content="of the harbour"),
        ],
    )
    assert memory.content == "of the harbour"
    assert not (tenant_folder(node.folder, TENANT) / PREVIEW_DATABASE).exists()


async def test_damage_in_what_was_lent_is_not_the_tenants(node: Node, router: Router, empty: bytes) -> None:
    await lend(node, b"no database at all" * 1000)
    with pytest.raises(RemoteError) as error:
        await router.call(TENANT, RESTORE_PREVIEW, RestorePreview())

    assert error.value.code == ErrorCode.UNAVAILABLE
    assert not (tenant_folder(node.folder, TENANT) / QUARANTINE_FILE).exists()
    assert len((await router.call(TENANT, LIST, MemoryList())).memories) == 2
    await lend(node, empty, "preview-2")
    assert (await router.call(TENANT, RESTORE_PREVIEW, RestorePreview())).deleted == 2


async def test_without_anything_to_compare_it_says_so(router: Router) -> None:
    with pytest.raises(RemoteError) as error:
        await router.call(TENANT, RESTORE_PREVIEW, RestorePreview())

    assert error.value.code == ErrorCode.UNAVAILABLE


async def test_purges_pass_from_a_database_to_its_fork(router: Router) -> None:
    for content in ("of the harbour", "of the lighthouse"):
        await router.call(OTHER, CREATE, MemoryCreate(content=content))
    await router.call(TENANT, DELETE, MemoryDelete(id=2, purge=True))
    erased = 0
    async for piece in router.stream(TENANT, PURGES, ListPurges()):
        erased += (await router.call(OTHER, FORGET, Forget(purges=piece.purges))).erased

    assert erased == 1
    assert [memory.id for memory in (await router.call(OTHER, LIST, MemoryList())).memories] == [1]
