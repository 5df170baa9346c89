"""The clock is set hours forward and back under running programs. What each case comes to is in ``engine/DESIGN.md``.

In short: the clock is taken at its word for what expires, and asked for nothing else. Nothing hangs, nothing fails, nothing
is erased but what expires by the clock, and what is permanent is never touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.catalogue.history import RESTORE, VERSIONS, MemoryRestore, MemoryVersions
from engine.catalogue.memory import (
    CREATE,
    DELETE,
    GET,
    LIST,
    UPDATE,
    Memory,
    MemoryCreate,
    MemoryDelete,
    MemoryGet,
    MemoryList,
    MemoryUpdate,
)
from engine.catalogue.transfer import IMPORT_BEGIN, IMPORT_COMMIT, IMPORT_STAGE, ImportBegin, ImportNamed, ImportStage
from engine.protocol import ErrorCode, RemoteError
from tenants.router import Router
from tests.engine.importing import entry
from tests.faults.clock_step import HOUR, ClockNode, sign_up
from tests.service import ROOT, wait_until
from tests.tenants.conftest import OTHER, TENANT

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
WOKEN_WITHIN_S = 100
"""A minute lies between two wakings of one database."""

STEPS = [3 * HOUR, -3 * HOUR]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ClockNode]:
    yield from _run(tmp_path, idle_s=300)


@pytest.fixture
def sleepy_node(tmp_path: Path) -> Iterator[ClockNode]:
    yield from _run(tmp_path, idle_s=0.2)


def _run(folder: Path, *, idle_s: float) -> Iterator[ClockNode]:
    node = ClockNode(folder, idle_s=idle_s)
    try:
        node.start("engine.fork_server")
        node.start("tenants.host.main")
        yield node
    finally:
        node.close()


@pytest.fixture
async def router(node: ClockNode) -> AsyncIterator[Router]:
    async with node.router() as running:
        yield running


async def create(router: Router, content: str, tenant: str = TENANT, key: str = "", **fields: Any) -> Memory:
    created = await router.call(tenant, CREATE, MemoryCreate(content=content, **fields), idempotency_key=key)
    assert isinstance(created, Memory)
    return created


async def listed(router: Router, *, in_trash: bool = False) -> set[str]:
    page = await router.call(TENANT, LIST, MemoryList(limit=500, in_trash=in_trash))
    return {memory.content for memory in page.memories}


async def fill(router: Router) -> None:
    """Store one memory of each kind of life."""
    await create(router, "for good")
    await create(router, "for an hour", tier="daily", ttl_seconds=3600)
    await create(router, "for six hours", tier="daily", ttl_seconds=6 * 3600)
    deleted = await create(router, "thrown away")
    await router.call(TENANT, DELETE, MemoryDelete(id=deleted.id))


def test_our_code_reads_no_other_clock() -> None:
    """Otherwise these tests would set a clock that it does not look at. Log lines and the quarantine's marker may."""
    other = re.compile(r"from time import .*\btime(?:_ns)?\b|datetime\.(?:now|today|utcnow)\(|date\.today\(")
    sources = [path for name in ("engine", "tenants", "gateway", "quotas", "billing") for path in (ROOT / name).rglob("*.py")]

    found = {path.relative_to(ROOT).as_posix() for path in sources if other.search(path.read_text())}
    assert found <= {"engine/store/quarantine.py", "gateway/request_log.py"}


async def test_a_memory_expires_at_its_second_of_the_clock(node: ClockNode, router: Router) -> None:
    brief = await create(router, "for an hour", tier="daily", ttl_seconds=3600)
    node.clock.step(HOUR - 30 * SECOND)
    assert (await router.call(TENANT, GET, MemoryGet(id=brief.id))).content == "for an hour"

    node.clock.step(30 * SECOND)
    with pytest.raises(RemoteError) as error:
        await router.call(TENANT, GET, MemoryGet(id=brief.id))
    assert error.value.code == ErrorCode.NOT_FOUND


async def test_a_clock_that_was_ahead_and_is_not_written_by_has_erased_nothing(node: ClockNode, router: Router) -> None:
    await fill(router)
    node.clock.step(3 * HOUR)
    assert await listed(router) == {"for good", "for six hours"}
    node.clock.step(-3 * HOUR)

    assert await listed(router) == {"for good", "for an hour", "for six hours"}


async def test_a_write_by_a_clock_that_is_ahead_erases_what_expires_within_the_step_and_nothing_else(
    node: ClockNode, router: Router
) -> None:
    await fill(router)
    node.clock.step(3 * HOUR)
    await create(router, "written ahead")
    node.clock.step(-3 * HOUR)

    assert await listed(router) == {"for good", "for six hours", "written ahead"}
    assert await listed(router, in_trash=True) == {"thrown away"}


async def test_the_trash_is_kept_for_thirty_days_of_the_clock(node: ClockNode, router: Router) -> None:
    deleted = await create(router, "thrown away")
    await router.call(TENANT, DELETE, MemoryDelete(id=deleted.id))
    node.clock.step(30 * DAY - HOUR)
    await create(router, "an hour before")
    node.clock.step(-30 * DAY)
    await router.call(TENANT, RESTORE, MemoryRestore(id=deleted.id))

    assert "thrown away" in await listed(router)


@pytest.mark.parametrize("step", STEPS)
async def test_versions_follow_each_other_whatever_the_clock_says(node: ClockNode, router: Router, step: timedelta) -> None:
    memory = await create(router, "first")
    node.clock.step(step)
    for content in ("second", "third"):
        memory = await router.call(TENANT, UPDATE, MemoryUpdate(id=memory.id, content=content))
        node.clock.step(-2 * step)
    versions = await router.call(TENANT, VERSIONS, MemoryVersions(id=memory.id))

    assert sorted((one.version, one.content) for one in versions.versions) == [(1, "first"), (2, "second"), (3, "third")]
    assert (memory.version, memory.content) == (3, "third")


@pytest.mark.parametrize("step", STEPS)
async def test_a_list_misses_nothing_when_the_clock_is_set_between_its_pages(
    node: ClockNode, router: Router, step: timedelta
) -> None:
    for number in range(20):
        await create(router, f"memory {number}")
        if number == 10:
            node.clock.step(step)
    seen: list[str] = []
    cursor = None
    while True:
        page = await router.call(TENANT, LIST, MemoryList(limit=3, cursor=cursor))
        seen += [memory.content for memory in page.memories]
        cursor = page.next_cursor
        node.clock.step(-step if len(seen) % 2 else step)
        if cursor is None:
            break

    assert sorted(seen) == sorted(f"memory {number}" for number in range(20))


@pytest.mark.parametrize("step", STEPS)
async def test_a_write_that_is_sent_again_is_known_after_a_step(node: ClockNode, router: Router, step: timedelta) -> None:
    first = await create(router, "once", key="one")
    node.clock.step(step)
    again = await create(router, "once", key="one")
    node.clock.step(-step)
    once_more = await create(router, "once", key="one")

    assert first.id == again.id == once_more.id


async def test_an_import_that_is_under_way_goes_on_after_a_step_back(node: ClockNode, router: Router) -> None:
    begun = await router.call(TENANT, IMPORT_BEGIN, ImportBegin())
    node.clock.step(-3 * HOUR)
    await router.call(TENANT, IMPORT_STAGE, ImportStage(import_id=begun.import_id, first=0, entries=[entry(7, "brought")]))
    await router.call(TENANT, IMPORT_COMMIT, ImportNamed(import_id=begun.import_id))

    assert await listed(router) == {"brought"}


async def test_an_import_that_is_under_way_is_given_up_whole_by_a_step_over_its_hour(node: ClockNode, router: Router) -> None:
    begun = await router.call(TENANT, IMPORT_BEGIN, ImportBegin())
    await router.call(TENANT, IMPORT_STAGE, ImportStage(import_id=begun.import_id, first=0, entries=[entry(7, "brought")]))
    node.clock.step(3 * HOUR)
    with pytest.raises(RemoteError) as error:
        await router.call(TENANT, IMPORT_COMMIT, ImportNamed(import_id=begun.import_id))
    await create(router, "written ahead")
    node.clock.step(-3 * HOUR)

    assert error.value.code == ErrorCode.NOT_FOUND
    assert await listed(router) == {"written ahead"}


async def test_no_deadline_is_missed_while_the_clock_jumps_about(node: ClockNode, router: Router) -> None:
    async def jump() -> None:
        while True:
            for step in (3 * HOUR, -6 * HOUR, 3 * HOUR):
                node.clock.step(step)
                await asyncio.sleep(0.001)

    jumping = asyncio.ensure_future(jump())
    texts = {f"memory {number}" for number in range(100)}
    for text in sorted(texts):
        await create(router, text)
    jumping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await jumping

    assert await listed(router) == texts


@pytest.mark.parametrize("step", STEPS)
async def test_idle_engines_fall_asleep_and_wake_after_a_step(sleepy_node: ClockNode, step: timedelta) -> None:
    async with sleepy_node.router() as router:
        for number in range(2):
            await create(router, f"memory {number}")
            sleepy_node.clock.step(step)
            await asyncio.to_thread(wait_until, lambda: not sleepy_node.engines())

        assert await listed(router) == {"memory 0", "memory 1"}
    status = await sleepy_node.status()
    assert (status.crashes_total, status.quarantined) == (0, 0)


async def test_a_database_that_sleeps_is_woken_for_what_a_step_made_due(sleepy_node: ClockNode) -> None:
    """The host looks at the clock whenever there is a new time to wake somebody, and once an hour when there is none."""
    node = sleepy_node
    async with node.router() as router:
        await create(router, "for an hour", tier="daily", ttl_seconds=3600)
        await asyncio.to_thread(wait_until, lambda: not node.engines())
        before = (await node.status()).wakings_total
        node.clock.step(3 * HOUR)
        await create(router, "for an hour too", tenant=OTHER, tier="daily", ttl_seconds=3600)

        async with asyncio.timeout(WOKEN_WITHIN_S):
            while (await node.status()).wakings_total == before:
                await asyncio.sleep(0.1)
        assert await listed(router) == set()


async def test_a_database_that_was_woken_by_a_clock_far_ahead_is_woken_again_after_it_was_set_right(
    sleepy_node: ClockNode,
) -> None:
    node = sleepy_node
    async with node.router() as router:

        async def wake(*, by: timedelta) -> None:
            """Let something become due by a step, and see it done."""
            await create(router, "for an hour", tier="daily", ttl_seconds=3600)
            await asyncio.to_thread(wait_until, lambda: not node.engines())
            before = (await node.status()).wakings_total
            node.clock.step(by)
            async with asyncio.timeout(WOKEN_WITHIN_S):
                while (await node.status()).wakings_total == before:
                    await create(router, "for a day", tenant=OTHER, tier="daily")
                    await asyncio.to_thread(wait_until, lambda: not node.engines())

        await wake(by=365 * DAY)
        node.clock.step(-365 * DAY)
        await wake(by=3 * HOUR)
        assert await listed(router) == set()


def test_a_key_expires_by_the_clock_and_a_rate_recovers_without_it(node: ClockNode) -> None:
    url = node.start_gateway()
    with sign_up(url, "anna") as account:
        expires_at = (node.clock.now() + HOUR).isoformat()
        made = account.post("/v1/keys", json={"name": "brief", "scopes": ["read"], "expires_at": expires_at})
        assert made.status_code == 201, made.text
        brief = {"Authorization": f"Bearer {made.json()['key']}"}

        statuses = []
        for step in (3 * HOUR, -3 * HOUR, -3 * HOUR, 3 * HOUR):
            node.clock.step(step)
            statuses.append(account.get("/v1/stats", headers=brief).status_code)
        assert statuses == [401, 200, 200, 200]

        while account.get("/v1/stats").status_code == 200:
            pass  # until the burst is used up
        node.clock.step(-3 * HOUR)
        wait_until(lambda: account.post("/v1/memories", json={"content": "after all that"}).status_code == 201)
    assert "Traceback" not in node.log()
