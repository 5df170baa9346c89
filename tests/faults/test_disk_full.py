"""A disk that is full, by a customer's writes or by somebody else: what is there stays, is read and deleted; life goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engine.catalogue.lifecycle import DATABASE_CHECK, DatabaseCheck
from engine.catalogue.memory import CREATE, DELETE, GET, LIST, MemoryCreate, MemoryDelete, MemoryGet, MemoryList
from engine.free_space import RESERVE_BYTES_MIN
from engine.protocol import ErrorCode, RemoteError
from tenants.router import Router
from tests.faults.failing_disk import fill, free_bytes, needs_root, running_node, small_disk
from tests.service import Service, wait_until
from tests.tenants.conftest import OTHER, TENANT, Node

DISK_MB = 48


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node alone on a small disk."""
    with small_disk(tmp_path / "disk", DISK_MB) as folder, running_node(folder) as running:
        yield running


async def store_until_refused(router: Router, tenant: str, text: str) -> tuple[dict[int, str], RemoteError]:
    """Store texts until one is refused; return what was acknowledged, and the refusal."""
    stored: dict[int, str] = {}
    while True:
        content = f"{len(stored)} {text}"
        try:
            memory = await router.call(tenant, CREATE, MemoryCreate(content=content))
        except RemoteError as error:
            return stored, error
        stored[memory.id] = content


async def check(router: Router, tenant: str, stored: dict[int, str]) -> None:
    """Compare what is there with what was acknowledged, one by one, and the whole file."""
    for memory_id, content in stored.items():
        assert (await router.call(tenant, GET, MemoryGet(id=memory_id))).content == content
    page = await router.call(tenant, LIST, MemoryList(limit=1))
    assert len(page.memories) == min(1, len(stored))


async def check_file(router: Router, tenant: str) -> None:
    report = await router.call(tenant, DATABASE_CHECK, DatabaseCheck())
    assert report.problems == []


@needs_root
async def test_a_customer_who_fills_the_disk_is_stopped_while_there_is_room_for_the_others(node: Node) -> None:
    async with node.router() as router:
        other = await router.call(OTHER, CREATE, MemoryCreate(content="of a quiet tenant"))
        stored, refusal = await store_until_refused(router, TENANT, "x" * 60_000)

        assert refusal.code == ErrorCode.DISK_FULL
        assert free_bytes(node.folder) > RESERVE_BYTES_MIN // 2
        fill(node.folder / "a stranger's", leave_bytes=RESERVE_BYTES_MIN // 2)
        assert (await router.call(OTHER, GET, MemoryGet(id=other.id))).content == "of a quiet tenant"
        with pytest.raises(RemoteError) as too:
            await router.call(OTHER, CREATE, MemoryCreate(content="no more"))
        assert too.value.code == ErrorCode.DISK_FULL
        assert (await node.status()).disk == "low"
        await check(router, TENANT, stored)
        for memory_id in list(stored)[::2]:
            await router.call(TENANT, DELETE, MemoryDelete(id=memory_id, purge=True))
            del stored[memory_id]
        await check(router, TENANT, stored)
        await check_file(router, TENANT)


@needs_root
async def test_a_disk_that_somebody_else_has_filled(node: Node) -> None:
    async with node.router() as router:
        stored = {}
        for number in range(20):
            memory = await router.call(TENANT, CREATE, MemoryCreate(content=f"{number} " + "word " * 500))
            stored[memory.id] = memory.content
        asleep = await router.call(OTHER, CREATE, MemoryCreate(content="of one that will sleep"))
        os.kill(node.engines()[OTHER], signal.SIGTERM)
        wait_until(lambda: OTHER not in node.engines())

        fill(node.folder / "a stranger's")
        wait_until(lambda: not (node.folder / "ballast").exists())
        assert (await node.status()).disk == "exhausted"
        more, refusal = await store_until_refused(router, TENANT, "within a second")
        stored |= more
        assert refusal.code == ErrorCode.DISK_FULL
        assert (await router.call(OTHER, GET, MemoryGet(id=asleep.id))).content == "of one that will sleep"
        await check(router, TENANT, stored)
        for number, memory_id in enumerate(list(stored)[::2]):
            await router.call(TENANT, DELETE, MemoryDelete(id=memory_id, purge=number % 2 == 0))
            del stored[memory_id]
        os.kill(node.engines()[TENANT], signal.SIGKILL)
        wait_until(lambda: TENANT not in node.engines())
        await check(router, TENANT, stored)

        (node.folder / "a stranger's").unlink()
        wait_until((node.folder / "ballast").exists)
        memory = await router.call(TENANT, CREATE, MemoryCreate(content="there is room again"))
        stored[memory.id] = memory.content
        await check(router, TENANT, stored)
        await check_file(router, TENANT)
        assert (await node.status()).disk == "ready"


@needs_root
async def test_a_disk_that_is_full_to_the_last_byte_before_the_ballast_is_let_go(node: Node) -> None:
    """The host is not there to let it go: what can't be written is refused, and nothing else happens."""
    node.stop("tenants.host.main", signal.SIGKILL)
    node.start("tenants.host.main")
    async with node.router() as router:
        memory = await router.call(TENANT, CREATE, MemoryCreate(content="before"))
        second = await router.call(TENANT, CREATE, MemoryCreate(content="before, too"))
        host = node.pid("tenants.host.main")
        os.kill(host, signal.SIGSTOP)
        try:
            fill(node.folder / "a stranger's")
            refused = []
            for call in (
                (CREATE, MemoryCreate(content="refused")),
                (DELETE, MemoryDelete(id=memory.id)),
                (DELETE, MemoryDelete(id=memory.id, purge=True)),
            ):
                try:
                    await router.call(TENANT, *call)
                except RemoteError as error:
                    refused.append(error.code)
            await check(router, TENANT, {second.id: "before, too"})
        finally:
            os.kill(host, signal.SIGCONT)

        assert refused[0] == ErrorCode.DISK_FULL
        assert set(refused) == {ErrorCode.DISK_FULL}
        wait_until(lambda: not (node.folder / "ballast").exists())
        await router.call(TENANT, DELETE, MemoryDelete(id=second.id, purge=True))
        await check_file(router, TENANT)


@pytest.mark.acceptance
@needs_root
def test_the_whole_service_on_a_full_disk(models: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 96) as folder, Service(folder) as service, service.sign_up() as account:
        kept = account.create("kept, whatever happens")
        gone = account.create("to be deleted")
        log_bytes = len(service.log())
        fill(folder / "a stranger's")
        wait_until(lambda: not (folder / "ballast").exists())
        fill(folder / "a stranger's", leave_bytes=1024 * 1024)

        # For a second the engine goes by what it saw last.
        wait_until(lambda: account.post("/v1/memories", json={"content": "taken, or refused"}).status_code == 507)
        answer = account.post("/v1/memories", json={"content": "refused"}).json()
        assert (answer["code"], answer["status"]) == ("disk_full", 507)
        stored = account.get("/v1/stats").json()["memories"]
        assert account.get(f"/v1/memories/{kept['id']}").json()["content"] == "kept, whatever happens"
        assert account.search("whatever happens")[0]["memory"]["id"] == kept["id"]
        assert account.delete(f"/v1/memories/{gone['id']}", params={"purge": "true"}).status_code == 200
        assert account.get("/v1/export").json()["memory_count"] == stored - 1
        assert httpx.get(f"{service.url}/health").status_code == 200
        ready = httpx.get(f"{service.url}/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert ready.json()["parts"]["disk"]["state"] == "exhausted"

        fill(folder / "a stranger's")
        signup = {"email": "late@example.com", "password": "correct horse", "organization": "Late"}
        assert httpx.post(f"{service.url}/v1/signup", json=signup, timeout=30).status_code in (503, 507)
        assert account.get(f"/v1/memories/{kept['id']}").status_code == 200

        (folder / "a stranger's").unlink()
        wait_until(lambda: httpx.get(f"{service.url}/ready").json()["status"] == "ready")
        account.create("there is room again")
        with service.sign_up() as late:
            late.create("of a new customer")
        assert account.get("/v1/export").json()["memory_count"] == stored
        assert len(service.log()) > log_bytes
        assert "disk_exhausted" in service.log()


@pytest.mark.acceptance
def test_what_must_stay_free_is_a_setting(models: Path, tmp_path: Path) -> None:
    """As much as no disk has: then nothing is stored from the start."""
    with Service(tmp_path, environment={"ENGRAM_DISK_RESERVE_MB": "1000000000"}) as service, service.sign_up() as account:
        refused = account.post("/v1/memories", json={"content": "refused"})
        assert (refused.status_code, refused.json()["code"]) == (507, "disk_full")
        assert account.get("/v1/memories").json()["memories"] == []
        assert httpx.get(f"{service.url}/ready").json()["parts"]["disk"]["state"] == "low"
