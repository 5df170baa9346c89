"""What it costs a node to know many tenants who all sleep: its start, its rest, and the first request of one of them.

One tenant signs up and stores memories; the others are made while the node is stopped: rows by the registry's own functions,
and copies of that tenant's folder, given to users of their own as the fork server gives them. The node is started a few times
at each number. Requests go to tenants drawn at random, few at a time, who then fall asleep again.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from engine.layout import tenant_folder
from engine.protocol.moment import system_clock
from engine.sandbox.users import Folders, service_of
from tenants.registry import keys
from tenants.registry.database import open_database
from tenants.registry.keys import SCOPES, KeyDirectory
from tenants.registry.pepper import key_pepper
from tenants.registry.signup import create_account
from tenants.registry.tables import new_id
from tests.bench import memory, table
from tests.bench.caller import Caller, Customer
from tests.bench.node import metric, running, wait_until_all_sleep
from tests.service import Service

_SEED = 7
_IDLE_S = "1"
_MEMORIES = 10
_ASKED_AT_ONCE = 10
"""As many as there are at the smallest number: each is asked once while it sleeps."""

_NO_PASSWORD = "-"
"""Which nothing hashes to: the others only have keys."""

Customers = Sequence[Customer]


@dataclass
class Figures:
    """Of one number of tenants, over all starts."""

    ready_s: list[float] = field(default_factory=list)
    start_cpu_s: list[float] = field(default_factory=list)
    """Processor time of the whole node until it was ready."""
    rest_cpu_ms: list[float] = field(default_factory=list)
    """In each second in which nobody asked anything."""
    pss_mib: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    second_ms: list[float] = field(default_factory=list)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="scripts/bench known", description=__doc__)
    options.add_argument("--tenants", type=int, default=10_000)
    options.add_argument("--few", type=int, default=_ASKED_AT_ONCE, help="the baseline")
    options.add_argument("--starts", type=int, default=5, help="of the node, at each number")
    options.add_argument("--requests", type=int, default=50, help="to sleeping tenants, after each start")
    options.add_argument("--rest", type=float, default=10, help="seconds in which nobody asks anything, after each start")
    given = options.parse_args()
    print(table.machine())
    measured: dict[int, Figures] = {}
    with running(ENGRAM_ENGINE_IDLE_SECONDS=_IDLE_S) as service:
        customers = [_real_customer(service)]
        service.stop()
        for known in (given.few, given.tenants):
            began = time.monotonic()
            customers += _more(service.folder, customers[0], known - len(customers))
            print(f"  {known:,} tenants known after {time.monotonic() - began:.0f} s", flush=True)
            figures = measured[known] = Figures()
            for _ in range(given.starts):
                _measure(service, customers, figures, requests=given.requests, rest_s=given.rest)
    _show(measured, given.starts)


def _real_customer(service: Service) -> Customer:
    with Caller(service.url) as caller:
        customer = caller.sign_up()
        for number in range(_MEMORIES):
            caller.call("POST", "/v1/memories", key=customer.key, body={"content": f"Plant {number} was watered."})
    return customer


def _more(data_folder: Path, model: Customer, count: int) -> list[Customer]:
    """Make so many customers whose databases are copies of the ``model``'s."""
    customers = asyncio.run(_register(data_folder, count))
    folders = Folders(data_folder, service_of(None))
    source = tenant_folder(data_folder, model.database)
    for customer in customers:
        shutil.copytree(source, tenant_folder(data_folder, customer.database))
        folders.prepare(customer.database)
    return customers


async def _register(data_folder: Path, count: int) -> list[Customer]:
    """Give so many a row in every table that a sign-up fills, all in one transaction."""
    database = await open_database(f"sqlite+aiosqlite:///{data_folder / 'control.db'}")
    customers = []
    async with database.begin() as connection:
        directory = KeyDirectory(await key_pepper(connection, None))
        for _ in range(count):
            now = system_clock()
            _, tenant = await create_account(
                connection,
                email=f"{new_id('person')}@example.com",
                password_hash=_NO_PASSWORD,
                organization="Test",
                plan="enterprise",
                now=now,
            )
            key, _ = await keys.create(
                connection, directory, tenant=tenant, name="first key", scopes=SCOPES, expires_at=None, now=now
            )
            customers.append(Customer(key=key, database=tenant))
    await database.dispose()
    return customers


def _measure(service: Service, customers: Customers, figures: Figures, *, requests: int, rest_s: float) -> None:
    """Start the node, let it rest, ask it, and stop it."""
    began = time.perf_counter()
    service.start()
    figures.ready_s.append(time.perf_counter() - began)
    cpu_s = _cpu_s(service)
    figures.start_cpu_s.append(cpu_s)
    time.sleep(rest_s)
    figures.rest_cpu_ms.append((_cpu_s(service) - cpu_s) / rest_s * 1000)
    figures.pss_mib.append(sum(memory.of(process.pid).pss for process in service.processes()) / 1024)
    wait_until_all_sleep(service)
    starts = metric(service, "engram_engine_starts")
    chance = random.Random(_SEED + len(figures.ready_s))
    with Caller(service.url) as caller:
        for _ in range(0, requests, _ASKED_AT_ONCE):
            for customer in chance.sample(customers, _ASKED_AT_ONCE):
                for times in (figures.first_ms, figures.second_ms):
                    times.append(caller.timed_ms("GET", "/v1/memories/1", key=customer.key))
            starts += _ASKED_AT_ONCE
            wait_until_all_sleep(service)
    if metric(service, "engram_engine_starts") < starts:
        raise SystemExit("not every engine slept when its tenant was first asked for")
    if metric(service, "engram_engine_wakings") > 0:
        raise SystemExit("the host woke tenants by itself: they do not look like real ones")
    service.stop()


def _cpu_s(service: Service) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in service.processes())


def _show(measured: dict[int, Figures], starts: int) -> None:
    few = next(iter(measured.values()))
    rows: list[tuple[object, ...]] = []
    for known, figures in measured.items():
        pairs = ((figures.ready_s, few.ready_s), (figures.start_cpu_s, few.start_cpu_s))
        start = [figure for one, base in pairs for figure in (f"{median(one):.2f}", f"{median(one) / median(base):.2f}")]
        rest = f"{median(figures.rest_cpu_ms):.1f}"
        rows.append((f"{known:,} known", *start, rest, f"{median(figures.pss_mib):,.0f}"))
    head = ("", "s until ready", "/ few", "CPU s until ready", "/ few", "CPU ms/s at rest", "node PSS MiB")
    table.show(f"A node's start and rest, medians of {starts} starts", head, rows)
    rows = []
    for known, figures in measured.items():
        for name, times, base in (("first", figures.first_ms, few.first_ms), ("second", figures.second_ms, few.second_ms)):
            p50, p99 = (table.percentile(times, share) for share in (0.5, 0.99))
            ratio = p50 / table.percentile(base, 0.5)
            rows.append((f"{name} GET, {known:,} known", len(times), f"{p50:.1f}", f"{p99:.1f}", f"{ratio:.2f}"))
    table.show("Requests to tenants who slept", ("", "n", "p50 ms", "p99 ms", "p50 / few known"), rows)


if __name__ == "__main__":
    main()
