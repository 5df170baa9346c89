"""Private memory of an idle engine, over many tenants, beside a fresh interpreter with the same modules.

Private (USS) is what ending the process would give back; proportional (PSS) adds its part of the pages that engines share.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median

from tests.bench import table
from tests.bench.node import running
from tests.service import ROOT, Service

_FRESH = (
    "import engine.fork_server; from engine.store.connection import preload; preload(); print('loaded', flush=True); input()"
)
_SETTLE_S = 2.0


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="scripts/bench engines", description=__doc__)
    options.add_argument("--tenants", type=int, default=50)
    options.add_argument("--memories", type=int, default=10, help="stored by each tenant before it is measured")
    given = options.parse_args()
    print(table.machine())
    fresh = _fresh_interpreter()
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


def _measured(service: Service) -> list[dict[str, int]]:
    time.sleep(_SETTLE_S)
    return [_memory(process.pid) for process in service.engines().values()]


def _memory(pid: int) -> dict[str, int]:
    """Return the kernel's sums over a process's mappings, in KiB."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:  # noqa: PTH123
        fields = [line.split() for line in file.readlines()[1:]]
    found = {field[0].rstrip(":"): int(field[1]) for field in fields}
    return {"private": found["Private_Clean"] + found["Private_Dirty"], "pss": found["Pss"]}


def _fresh_interpreter() -> dict[str, int]:
    with subprocess.Popen([sys.executable, "-c", _FRESH], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"loaded\n"
        measured = _memory(process.pid)
        process.communicate(b"\n")
    return measured


def _row(name: str, measured: Sequence[dict[str, int]], fresh: dict[str, int]) -> tuple[object, ...]:
    private = [one["private"] for one in measured]
    pss = median(one["pss"] for one in measured)
    return (
        name,
        len(measured),
        f"{median(private):,.0f}",
        f"{max(private):,}",
        f"{pss:,.0f}",
        f"{median(private) / fresh['private']:.3f}",
    )


if __name__ == "__main__":
    main()
