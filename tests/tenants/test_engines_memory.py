"""Engines stay within the memory they may hold: the least recently used sleeps first, and none with requests in flight."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.catalogue.memory import CREATE, MemoryCreate
from engine.catalogue.statistics import STATS, MemoryStats
from engine.catalogue.transfer import FILE, ExportFile
from engine.client import Client
from engine.memory_limit import memory_limit_bytes
from engine.protocol import ErrorCode, RemoteError
from tenants.host.memory import AGAIN_S, SAMPLE, Memory
from tenants.host.pool import Pool
from tenants.host.recency import ASKS_MAX, IN_USE_S, Eviction, Recency
from tenants.host.settings import HostSettings
from tests.tenants.conftest import OTHER, TENANT, Node
from tests.tenants.pooling import ask, eventually, running_pool

_MB = 1024 * 1024
NOW = 1_000


def tenant(number: int) -> str:
    return f"db_{'abcdefghijklmnopqrstuvwxyz'[number] * 20}"


# Whom to end


@given(
    engines=st.lists(st.tuples(st.integers(0, NOW), st.integers(0, NOW), st.booleans()), min_size=1, max_size=ASKS_MAX // 2 - 1)
)
def test_the_one_that_ends_is_the_least_recently_used(engines: list[tuple[int, int, bool]]) -> None:
    """Each has a moment since which the host knows nothing of it, a last use after that, and perhaps a request in flight."""
    recency = Recency()
    last_uses, busy = {}, set()
    for number, (one, other, is_busy) in enumerate(engines):
        name = str(number)
        last_uses[name] = max(one, other)
        recency.add(name, min(one, other))
        if is_busy:
            busy.add(name)
    idle = {name: at for name, at in last_uses.items() if name not in busy and NOW - at >= IN_USE_S}

    eviction = Eviction(recency)
    evicted = None
    while evicted is None and (question := eviction.next(NOW)) is not None:
        idle_s = NOW - last_uses[question.tenant]
        if question.tenant not in busy and idle_s >= question.idle_s:
            evicted = question.tenant
        else:
            eviction.refused(question, idle_s, NOW)

    assert (evicted is None) == (not idle)
    if evicted is not None:
        assert last_uses[evicted] == min(idle.values())


@given(last_uses=st.lists(st.integers(0, NOW), min_size=1, max_size=ASKS_MAX * 3))
def test_each_search_is_short_and_goes_on_where_the_last_one_ended(last_uses: list[int]) -> None:
    """Of all those strangers nothing is known at first; in the end those sleep that were idle, all of them and nobody else."""
    recency = Recency()
    for number in range(len(last_uses)):
        recency.add(str(number), 0)
    asleep: set[str] = set()
    searches_in_vain = 0
    while searches_in_vain <= len(last_uses) / ASKS_MAX + 1:
        searches_in_vain += 1
        eviction = Eviction(recency)
        asks = 0
        while (question := eviction.next(NOW)) is not None:
            asks += 1
            idle_s = NOW - last_uses[int(question.tenant)]
            if idle_s >= question.idle_s:
                asleep.add(question.tenant)
                recency.forget(question.tenant)
                searches_in_vain = 0
                break
            eviction.refused(question, idle_s, NOW)
        assert asks <= ASKS_MAX

    assert asleep == {str(number) for number, at in enumerate(last_uses) if NOW - at >= IN_USE_S}


def test_an_engine_that_says_nothing_is_passed_over() -> None:
    recency = Recency()
    recency.add("silent", 0)
    recency.add("next", 10)
    eviction = Eviction(recency)

    first = eviction.next(NOW)
    assert first is not None
    assert first.tenant == "silent"
    eviction.passed("silent", NOW)
    second = eviction.next(NOW)
    assert second is not None
    assert second.tenant == "next"


# How much they hold


class MemoryMachine(RuleBasedStateMachine):
    """Compared with a dictionary that is added up anew each time."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory(1_000)
        self.holds: dict[str, int | None] = {}
        self.leaving: set[str] = set()
        self.looked_at: dict[str, float] = {}
        self.now = 0.0

    @rule(name=st.sampled_from("abcdef"))
    def add(self, name: str) -> None:
        self.memory.add(name, self.now)
        self.holds.setdefault(name, None)

    @rule(name=st.sampled_from("abcdef"))
    def remove(self, name: str) -> None:
        self.memory.remove(name)
        self.holds.pop(name, None)
        self.leaving.discard(name)
        self.looked_at.pop(name, None)

    @rule(name=st.sampled_from("abcdef"), leaving=st.booleans())
    def leave(self, name: str, leaving: bool) -> None:
        self.memory.leaves(name, leaving=leaving)
        self.leaving = self.leaving | {name} if leaving and name in self.holds else self.leaving - {name}

    @rule(seconds=st.floats(0, 20), size=st.integers(0, 500))
    def measure(self, seconds: float, size: int) -> None:
        self.now += seconds
        due = self.memory.due(self.now)
        assert len(set(due)) == len(due) <= SAMPLE
        for name in due:
            assert self.now - self.looked_at.get(name, -AGAIN_S) >= AGAIN_S
            self.memory.measured(name, size, self.now)
            self.holds[name] = size
            self.looked_at[name] = self.now
        assert not self.memory.due(self.now)

    @invariant()
    def both_agree(self) -> None:
        known = [held for held in self.holds.values() if held is not None]
        mean = sum(known) // len(known) if known else self.memory.mean_bytes

        def of(name: str) -> int:
            held = self.holds[name]
            return mean if held is None else held

        assert self.memory.mean_bytes == mean
        assert self.memory.held_bytes == sum(map(of, self.holds))
        assert self.memory.staying_bytes == sum(of(name) for name in self.holds if name not in self.leaving)
        assert self.memory.fits() == (not self.holds or self.memory.held_bytes + mean <= 1_000)


TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(max_examples=100, stateful_step_count=40)


def test_a_thousand_engines_are_measured_a_few_at_a_time_each_in_its_turn() -> None:
    memory = Memory(1)
    for number in range(1_000):
        memory.add(str(number), 0)
    seen: list[str] = []
    for second in range(1, 64):
        due = memory.due(second)
        assert len(due) <= SAMPLE
        for name in due:
            memory.measured(name, 1, second)
        seen += due

    assert sorted(seen[:1_000], key=int) == [str(number) for number in range(1_000)]


# How much they may hold


def group(root: Path, lines: str, **files: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("lines", "files", "limit"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "4096\n"}, 4096),
        ("0::/outside/name\n", {"memory.max": "8192\n"}, 8192),
        ("5:cpu,cpuacct:/x\n4:memory:/x\n", {"memory/x/memory.limit_in_bytes": "12288\n"}, 12288),
        ("4:memory:/x\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, MACHINE),
        ("0::/\n", {"memory.max": "max\n"}, MACHINE),
        ("0::/\n", {}, MACHINE),
    ],
)
def test_the_limit_is_the_machines_or_its_groups(tmp_path: Path, lines: str, files: dict[str, str], limit: int) -> None:
    assert memory_limit_bytes(group(tmp_path, lines, **files)) == limit


def test_where_there_are_no_groups_the_limit_is_the_machines(tmp_path: Path) -> None:
    assert memory_limit_bytes(tmp_path) == MACHINE


def test_engines_may_hold_half_of_it_unless_it_is_said_otherwise() -> None:
    assert HostSettings.from_environment({}).memory_bytes_max == memory_limit_bytes() // 2
    assert HostSettings.from_environment({"ENGRAM_ENGINES_MEMORY_MAX_MB": ""}).memory_bytes_max == memory_limit_bytes() // 2
    assert HostSettings.from_environment({"ENGRAM_ENGINES_MEMORY_MAX_MB": "1.5"}).memory_bytes_max == 3 * _MB // 2


# Real engines


async def test_who_is_used_stays_awake_who_is_not_sleeps(fork_server: Node) -> None:
    """The requests of the first go past the pool, which can't see that its engine is in use."""
    async with running_pool(fork_server.folder) as pool, asyncio.TaskGroup() as tasks:
        await ask(pool, tenant(0), CREATE, MemoryCreate(content="of tenant 0"))
        (measured,) = await pool.link.measure([tenant(0)])
        pool.memory.measured(tenant(0), measured.private_bytes, time.monotonic())
        pool.memory.bytes_max = 5 * measured.private_bytes
        first = fork_server.engines()[tenant(0)]
        using = tasks.create_task(_use(await pool.ensure(tenant(0))))
        for number in range(1, 9):
            await eventually(partial(_starts, pool, tenant(number)))
        engines = fork_server.engines()

        assert pool.room.evictions >= 3
        assert engines[tenant(0)] == first
        assert tenant(1) not in engines
        using.cancel()
        for number in range(1, 9):
            await eventually(partial(_starts, pool, tenant(number)))
        await eventually(lambda: pool.memory.held_bytes <= pool.memory.bytes_max)
        assert pool.crashes == 0


async def test_an_engine_with_a_request_in_flight_is_never_ended_for_its_memory(fork_server: Node) -> None:
    """One engine fills the node; while it streams nobody else gets in, and is told when to come back."""
    async with running_pool(fork_server.folder, memory_bytes_max=1) as pool:
        for _ in range(40):
            await ask(pool, TENANT, CREATE, MemoryCreate(content="x" * 60_000))
        async with await Client.connect(await pool.ensure(TENANT)) as client:
            chunks = client.stream(FILE.name, ExportFile(), chunk_type=bytes)
            async with contextlib.aclosing(chunks):
                await anext(chunks)
                with pytest.raises(RemoteError) as error:
                    await pool.ensure(OTHER)
                rest = [chunk async for chunk in chunks]

        assert error.value.code == ErrorCode.UNAVAILABLE
        assert error.value.details["retry_after"] >= 1
        assert sum(map(len, rest)) > 2_000_000
        assert (pool.room.evictions, pool.room.refused) == (0, 1)
        await eventually(partial(_starts, pool, OTHER))
        assert pool.room.evictions == 1
        assert pool.crashes == 0


async def _use(socket: Path) -> None:
    async with await Client.connect(socket) as client:
        while True:
            await client.call(STATS.name, MemoryStats(), result_type=STATS.result)
            await asyncio.sleep(0.1)


async def _starts(pool: Pool, name: str) -> bool:
    with contextlib.suppress(RemoteError):
        await ask(pool, name, STATS, MemoryStats())
        return True
    return False
