"""What it costs to have many tenants live on one node: memory, and how fast the hot ones among them are served.

Tenants are added until as many are live as asked for, and at each number measured anew. Hot are 200 of them, or all if there
are fewer; besides, the same few are hot at every number, so that what differs is only how many others are live. One request
after the other is sent, each to a hot tenant drawn at random: three in five read a memory, one searches by words, one in ten
changes a memory without touching its text, one in ten stores a text, which the node embeds first. What is stored stays, so that
who is hot has more of it at each number.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

import psutil

from tests.bench import memory, table
from tests.bench.caller import Caller, Customer
from tests.bench.memory import Memory
from tests.bench.node import metric, running
from tests.service import Service, wait_until

_SEED = 7
_KINDS = ("get", "get", "get", "get", "get", "get", "search", "search", "update", "create")
_WORDS = ("harbour", "archive", "barometer", "cello", "cluster", "garden", "invoice", "kitchen", "ladder", "printer", "window")
_HOT = 200
_SIGN_UPS_AT_ONCE = 4
_MEMORY_PER_TENANT_MB = 16
"""Far more than an engine holds: none is to be put to sleep for want of memory."""

_MEMORY_MIN_MB = 1024
_SETTLE_S = 3.0
_PENDING_S = 3600.0
_NODE_KIB = 4 * 1024 * 1024
"""The node that a thousand are to fit on: 4 GiB."""

Timings = dict[str, list[float]]


@dataclass(frozen=True, kw_only=True)
class Held:
    """Memory while a number of tenants is live, after their requests."""

    engines: list[Memory]
    rest_kib: int
    """Proportional, of all other programs of the node."""
    machine_kib: int
    """By how much less is available on the machine than before the node was started: with page tables and all else that the
    kernel holds for its processes, without pages of files that it may drop, and with what others have taken meanwhile."""


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="scripts/bench thousand", description=__doc__)
    options.add_argument("--live", default="10,100,1000", help="how many tenants, separated by commas")
    options.add_argument("--requests", type=int, default=5000, help="sent at each number")
    options.add_argument("--memories", type=int, default=10, help="stored by each tenant before")
    given = options.parse_args()
    numbers = sorted(map(int, given.live.split(",")))
    print(table.machine())
    fresh = memory.of_fresh_interpreter()
    available_kib = _available_kib()
    limit_mb = max(_MEMORY_MIN_MB, _MEMORY_PER_TENANT_MB * numbers[-1])
    customers: list[Customer] = []
    all_hot: dict[int, Timings] = {}
    same_hot: dict[int, Timings] = {}
    held: dict[int, Held] = {}
    with running(ENGRAM_ENGINE_IDLE_SECONDS="86400", ENGRAM_ENGINES_MEMORY_MAX_MB=str(limit_mb)) as service:
        for live in numbers:
            customers += _new_customers(service, live - len(customers), given.memories)
            same_hot[live] = _requests(service, customers[: numbers[0]], given.requests, given.memories)
            all_hot[live] = _requests(service, customers[:_HOT], given.requests, given.memories)
            held[live] = _held(service, live, available_kib)
    _show_memory(held, fresh)
    _show_times(f"The same {min(numbers[0], _HOT)} hot tenants among all", same_hot)
    _show_times(f"{_HOT} hot tenants, or all", all_hot)


def _new_customers(service: Service, count: int, memories: int) -> list[Customer]:
    """Sign up so many, who store memories; return when those are embedded."""
    with ThreadPoolExecutor(_SIGN_UPS_AT_ONCE) as threads:
        customers = list(threads.map(lambda _: _new_customer(service, memories), range(count)))
    wait_until(lambda: metric(service, "engram_pending_tenants") == 0, _PENDING_S)
    return customers


def _new_customer(service: Service, memories: int) -> Customer:
    with Caller(service.url) as caller:
        customer = caller.sign_up()
        entries = [{"content": _text(number)} for number in range(memories)]
        caller.call("POST", "/v1/memories/batch", key=customer.key, body={"create": entries})
    return customer


def _requests(service: Service, hot: Sequence[Customer], count: int, memories: int) -> Timings:
    """Send so many requests to hot tenants, each of whom is asked once before; return the milliseconds of each kind."""
    chance = random.Random(_SEED)
    timings: Timings = defaultdict(list)
    with Caller(service.url) as caller:
        for customer in hot:
            caller.call("POST", "/v1/search", key=customer.key, body={"query": "harbour", "mode": "keyword"})
        for number in range(count):
            kind, key, memory_id = chance.choice(_KINDS), chance.choice(hot).key, chance.randint(1, memories)
            method, path, body = _request(kind, memory_id, number)
            timings[kind].append(caller.timed_ms(method, path, key=key, body=body))
    return timings


def _request(kind: str, memory_id: int, number: int) -> tuple[str, str, object]:
    match kind:
        case "get":
            return "GET", f"/v1/memories/{memory_id}", None
        case "search":
            return "POST", "/v1/search", {"query": _text(number), "mode": "keyword"}
        case "update":
            return "PATCH", f"/v1/memories/{memory_id}", {"importance": number % 100 / 100}
    return "POST", "/v1/memories", {"content": _text(number)}


def _text(number: int) -> str:
    words = random.Random(number).sample(_WORDS, 3)
    return f"Note {number} is about the {words[0]}, the {words[1]} and the {words[2]}."


def _held(service: Service, live: int, available_before_kib: int) -> Held:
    time.sleep(_SETTLE_S)
    engines = {process.pid for process in service.engines().values()}
    if len(engines) != live:
        raise SystemExit(f"{len(engines)} engines run, not {live}")
    return Held(
        engines=[memory.of(pid) for pid in engines],
        rest_kib=sum(memory.of(process.pid).pss for process in service.processes() if process.pid not in engines),
        machine_kib=available_before_kib - _available_kib(),
    )


def _available_kib() -> int:
    return int(psutil.virtual_memory().available) // 1024


def _show_memory(held: dict[int, Held], fresh: Memory) -> None:
    rows = []
    for live, now in held.items():
        private = [engine.private for engine in now.engines]
        engines_kib = sum(engine.pss for engine in now.engines)
        rows.append(
            (
                f"{live:,}",
                f"{median(private):,.0f}",
                f"{max(private):,}",
                f"{median(private) / fresh.private:.3f}",
                *(f"{kib / 1024:,.0f}" for kib in (engines_kib, now.rest_kib, engines_kib + now.rest_kib, now.machine_kib)),
                f"{max(engines_kib + now.rest_kib, now.machine_kib) / _NODE_KIB:.0%}",
            )
        )
    head = ("live", "private KiB p50", "max", "/ fresh", "PSS MiB engines", "others", "node", "gone from machine", "of 4 GiB")
    title = f"Memory of live tenants; private is an engine's, beside a fresh interpreter's {fresh.private:,} KiB"
    table.show(title, head, rows)


def _show_times(title: str, measured: dict[int, Timings]) -> None:
    first = next(iter(measured.values()))
    rows = []
    for kind in dict.fromkeys(_KINDS):
        for live, timings in measured.items():
            p50, p99 = (table.percentile(timings[kind], share) for share in (0.5, 0.99))
            base50, base99 = (table.percentile(first[kind], share) for share in (0.5, 0.99))
            name = f"{kind}, {live:,} live"
            rows.append((name, len(timings[kind]), f"{p50:.2f}", f"{p99:.2f}", f"{p50 / base50:.2f}", f"{p99 / base99:.2f}"))
    table.show(title, ("", "n", "p50 ms", "p99 ms", "p50 / fewest live", "p99 / fewest live"), rows)


if __name__ == "__main__":
    main()
