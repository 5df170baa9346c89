"""Time until a tenant whose engine sleeps has its first answer, beside the start of an interpreter that imports the engine.

Also after the node was started again, when each tenant's owner is looked up in the object store (a directory here), and after
everything but that store and the control plane was removed, when the tenant's database has to be brought from there.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from tests.bench import table
from tests.bench.node import metric, running, wait_until_all_sleep
from tests.service import ROOT, Account, Service

_IDLE_S = "1"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="scripts/bench wake", description=__doc__)
    options.add_argument("--tenants", type=int, default=100)
    options.add_argument("--interpreters", type=int, default=20, help="how often the baseline is measured")
    given = options.parse_args()
    print(table.machine())
    with running(ENGRAM_ENGINE_IDLE_SECONDS=_IDLE_S) as service:
        memories = []
        for _ in range(given.tenants):
            with service.sign_up() as account:
                memories.append((account, account.create("The office cat sleeps on the printer.")["id"]))
        wait_until_all_sleep(service)
        starts = metric(service, "engram_engine_starts")
        with httpx.Client(base_url=service.url, timeout=60) as client:
            client.get("/health").raise_for_status()  # the connection is there; the engine is not
            first, second = [], []
            for account, memory_id in memories:
                first.append(_timed(_get, client, account, memory_id))
                second.append(_timed(_get, client, account, memory_id))
        if metric(service, "engram_engine_starts") - starts < given.tenants:
            raise SystemExit("not every engine slept when its tenant was first asked for")
        service.stop()
        service.start()
        restarted = _first_answers(service, memories)
        service.stop()
        shutil.rmtree(service.folder / "tenants")
        service.start()
        restored = _first_answers(service, memories)
    bare = [_timed(_interpreter, "pass") for _ in range(given.interpreters)]
    fresh = [_timed(_interpreter, "import engine.main") for _ in range(given.interpreters)]
    rows = [
        _row("interpreter that imports engine.main", fresh, fresh),
        _row("interpreter alone", bare, fresh),
        _row("first GET of a sleeping tenant", first, fresh),
        _row("second GET", second, fresh),
        _row("first GET since the node's start", restarted, fresh),
        _row("first GET of a tenant that only the store has", restored, fresh),
    ]
    head = ("", "samples", "p50 ms", "p99 ms", "max ms", "p50 baseline / p50")
    table.show(f"Time to the first answer, {given.tenants} tenants one after the other", head, rows)


def _first_answers(service: Service, memories: list[tuple[Account, int]]) -> list[float]:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        client.get("/health").raise_for_status()
        return [_timed(_get, client, account, memory_id) for account, memory_id in memories]


def _get(client: httpx.Client, account: Account, memory_id: int) -> None:
    headers = {"Authorization": f"Bearer {account.key}"}
    client.get(f"/v1/memories/{memory_id}", headers=headers).raise_for_status()


def _interpreter(program: str) -> None:
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def _timed(work: Callable[..., None], *arguments: Any) -> float:
    """Return how many milliseconds ``work`` takes."""
    began = time.perf_counter()
    work(*arguments)
    return (time.perf_counter() - began) * 1000


def _row(name: str, times: Sequence[float], baseline: Sequence[float]) -> tuple[object, ...]:
    median = table.percentile(times, 0.5)
    ratio = table.percentile(baseline, 0.5) / median
    return name, len(times), f"{median:.1f}", f"{table.percentile(times, 0.99):.1f}", f"{max(times):.1f}", f"{ratio:.1f} x"


if __name__ == "__main__":
    main()
