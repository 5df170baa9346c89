"""Engines are killed while customers write: what was acknowledged is there, once, nothing is half done, no file is damaged.

A real fork server, a real host and a router, several tenants at once. ``./scripts/soak engines`` kills ten thousand.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import secrets
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.check import check
from engine.store.connection import preload
from tenants.router import Router
from tests.faults.kills_customer import Customer, reckon
from tests.tenants.conftest import Node

SOAK_KILLS = int(os.environ.get("ENGRAM_SOAK_ENGINE_KILLS", "0"))
KILLS = SOAK_KILLS or 48

TENANTS = 4
CUSTOMERS = 2
"""Of one tenant: their writes meet in one transaction."""

KILLS_PER_TENANT = 12
"""Fewer than make the host hold a tenant's engine back; then others take their turn."""

IDLE_S = 5.0
"""Engines of earlier rounds fall asleep, so that a long run needs no more memory than a short one."""

BROKEN = ("lost", "doubled", "come back", "half done", "made up", "corrupt", "corrupt at rest")

pytestmark = pytest.mark.timeout(0 if SOAK_KILLS else 300)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    running = Node(tmp_path, idle_s=IDLE_S)
    try:
        running.start("engine.fork_server")
        running.start("tenants.host.main")
        yield running
    finally:
        running.close()


async def test_an_acknowledged_write_survives_the_engine(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(secrets.randbits(32) if SOAK_KILLS else 1)
    counts: Counter[str] = Counter()
    tenants: list[str] = []
    async with node.router() as router:
        while counts["kills"] < KILLS:
            tenants = [_new_tenant(chance) for _ in range(TENANTS)]
            rounds = await asyncio.gather(*(_kill_and_reckon(node, router, tenant, chance) for tenant in tenants))
            counts += sum(rounds, Counter())
            if SOAK_KILLS:
                _tell(counts, capsys)
    node.close()
    preload()
    for folder in (node.folder / "tenants").glob("*/*"):
        counts["files"] += 1
        counts["corrupt at rest"] += bool(check(folder / "memory.db").problems)
    _tell(counts, capsys)

    assert counts["acknowledged"] > counts["kills"]
    assert {kind: counts[kind] for kind in BROKEN if counts[kind]} == {}
    assert "Traceback" not in node.log()


def _tell(counts: Counter[str], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled() if SOAK_KILLS else contextlib.nullcontext():
        print(json.dumps(dict.fromkeys(BROKEN, 0) | counts), flush=True)


async def _kill_and_reckon(node: Node, router: Router, tenant: str, chance: random.Random) -> Counter[str]:
    customers = [
        Customer(router, tenant, f"{tenant[3:9]} {number}", random.Random(chance.random())) for number in range(CUSTOMERS)
    ]
    async with asyncio.TaskGroup() as tasks:
        for customer in customers:
            tasks.create_task(customer.work())
        try:
            for _ in range(KILLS_PER_TENANT):
                await _kill(node, tenant, customers, chance)
        finally:
            for customer in customers:
                customer.stop()
    return Counter(kills=KILLS_PER_TENANT) + await reckon(router, tenant, [customer.ledger for customer in customers])


async def _kill(node: Node, tenant: str, customers: list[Customer], chance: random.Random) -> None:
    """Kill the tenant's engine at any moment of its life, most often at one when it has served for a while."""
    written = _written(customers) + chance.choice((0, 1, 1, 2, 5, 20))
    while _written(customers) < written:
        await asyncio.sleep(0.001)
    await asyncio.sleep(chance.uniform(0, 0.004))
    while True:
        pid = node.engines().get(tenant)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return
        await asyncio.sleep(0.005)


def _written(customers: list[Customer]) -> int:
    return sum(customer.ledger.acknowledged for customer in customers)


def _new_tenant(chance: random.Random) -> str:
    return "db_" + "".join(chance.choices("abcdefghijklmnopqrstuvwxyz234567", k=20))
