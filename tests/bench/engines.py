"""Private memory of an idle engine, over many tenants, beside a fresh interpreter with the same modules."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from statistics import median

from tests.bench import memory, table
from tests.bench.memory import Memory
from tests.bench.node import running
from tests.service import Service

_SETTLE_S = 2.0


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="scripts/bench engines", description=__doc__)
    options.add_argument("--tenants", type=int, default=50)
    options.add_argument("--memories", type=int, default=10, help="stored by each tenant before it is measured")
    given = options.parse_args()
    print(table.machine())
    fresh = memory.of_fresh_interpreter()
    rows = [_row("fresh interpreter", [fresh], fresh)]
    with running(ENGRAM_ENGINE_IDLE_SECONDS="3600") as service:
        accounts = [service.sign_up() for _ in range(given.tenants)]
        for account in accounts:
            account.get("/v1/stats").raise_for_status()
        rows.append(_row("engine, just started", _measured(service), fresh))
        for account in accounts:
            for number in range(given.memories):
                account.create(f"Memory {number}: the office cat sleeps on the printer, and nobody minds it any more.")
            account.search("feline at work")
            account.close()
        rows.append(_row(f"engine, {given.memories} writes and a search later", _measured(service), fresh))
    head = ("", "processes", "private KiB p50", "max", "PSS KiB p50", "private / fresh")
    table.show(f"Memory of an idle engine, {given.tenants} tenants", head, rows)


def _measured(service: Service) -> list[Memory]:
    time.sleep(_SETTLE_S)
    return [memory.of(process.pid) for process in service.engines().values()]


def _row(name: str, measured: Sequence[Memory], fresh: Memory) -> tuple[object, ...]:
    private = [one.private for one in measured]
    pss = median(one.pss for one in measured)
    return (
        name,
        len(measured),
        f"{median(private):,.0f}",
        f"{max(private):,}",
        f"{pss:,.0f}",
        f"{median(private) / fresh.private:.3f}",
    )


if __name__ == "__main__":
    main()
