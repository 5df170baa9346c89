"""How late, how dear and how sure replication is: on a real node, into a folder and into a bucket of a real S3 server.

Writes come at a steady rate, spread over the tenants, straight to their engines; nothing is embedded. ``lag`` is from the
engine's answer to a write until the store has acknowledged the file that holds it, of every tenth write; ``ship`` from a file's
capture to its acknowledgement, as the replicator tells it of the last thousand files. Requests are those that it has counted.

For the outage the S3 server is taken away for a while, under the same writes; then what is in the bucket is put together, and
its rows are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import boto3

from engine.captured import CAPTURED_FILE, decode
from engine.catalogue.memory import CREATE, MemoryCreate
from engine.catalogue.recovery import FLUSH, Flush
from engine.layout import TENANT, tenant_folder
from engine.link import Link
from engine.protocol import RemoteError
from engine.store.connection import open_reader, preload
from tenants.messages.replica import ReplicaStatus, Replicated, WaitReplicated
from tenants.replica.history.rebuild import rebuild
from tenants.replica.stores import open_store
from tenants.replica.trees import Trees
from tenants.router import Router
from tests.bench import memory, table
from tests.bench.node import running
from tests.service import Service
from tests.tenants.replica.fault_proxy import FaultProxy
from tests.tenants.replica.s3_server import BUCKET, CREDENTIALS, S3Server, store_url

_SAMPLE = 10
_WARM_UP_S = 3.0
_LEASES_A_DAY = 8640
"""A renewal each ten seconds, for a whole node."""

_PRICES = {"S3": {"put": 5.0, "list": 5.0, "get": 0.4, "head": 0.4}, "R2": {"put": 4.5, "list": 4.5, "get": 0.36, "head": 0.36}}
"""US dollars a million, list prices of August 2026: S3 Standard in us-east-1; R2's classes A and B. Deletions cost nothing."""

_DAYS = {"idle": (0, 0), "light": (100, 10), "busy": (28_800, 5), "without pause": (345_600, 1)}
"""Files and admissions of a tenant's day. Light is a hundred writes in ten sittings; busy one each second for eight hours;
without pause four files each second, the most that there are."""


@dataclass
class Run:
    """What one run was."""

    lags_s: list[float] = field(default_factory=list)
    late: int = 0
    """Writes that came later than they were to, by more than a second: the machine did not keep up."""
    written: int = 0
    before: ReplicaStatus | None = None
    after: ReplicaStatus | None = None


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="scripts/bench replication", description=__doc__)
    options.add_argument("--tenants", default="1,100", help="how many, separated by commas; 500 is worth a try")
    options.add_argument("--rate", type=float, default=50.0, help="writes a second, of all tenants together")
    options.add_argument("--seconds", type=float, default=30.0, help="of each measurement")
    options.add_argument("--outage", type=float, default=60.0, help="seconds without a store; 0 for none, 600 for the promise")
    options.add_argument("--stores", default="directory,s3", help="which, separated by commas")
    given = options.parse_args()
    preload()
    print(table.machine())
    numbers = sorted(map(int, given.tenants.split(",")))
    for kind in given.stores.split(","):
        with _node(kind) as (service, proxy, url):
            runs = {number: asyncio.run(_measure(service, number, given.rate, given.seconds)) for number in numbers}
            _show_lags(kind, given.rate, runs)
            _show_requests(kind, runs[numbers[0]])  # the most files for each tenant
            _show_memory(kind, service)
            if proxy is not None and given.outage:
                asyncio.run(_outage(service, proxy, url, given.rate, given.outage))


@contextlib.contextmanager
def _node(kind: str) -> Iterator[tuple[Service, FaultProxy | None, str]]:
    """Yield a running node, what stands between it and the store, and the store's address for others."""
    if kind == "directory":
        with tempfile.TemporaryDirectory(prefix="engram-bench-store-") as folder:
            url = Path(folder).as_uri()
            with running(ENGRAM_REPLICA_URL=url, ENGRAM_ENGINE_IDLE_SECONDS="86400") as service:
                yield service, None, url
        return
    with S3Server() as server:
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=server.endpoint,
            region_name="us-east-1",
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket=BUCKET)
        with FaultProxy(server.port) as proxy:
            settings = {"ENGRAM_REPLICA_URL": store_url(proxy.endpoint, "bench"), "ENGRAM_ENGINE_IDLE_SECONDS": "86400"}
            with running(**settings, **CREDENTIALS) as service:
                yield service, proxy, store_url(server.endpoint, "bench")


def _names(count: int) -> list[str]:
    names = ["db_" + "".join("abcdefghijklmnopqrstuvwxyz234567"[byte % 32] for byte in (uuid4().bytes + uuid4().bytes)[:20])
             for _ in range(count)]  # fmt: skip
    assert all(TENANT.fullmatch(name) for name in names)
    return names


@contextlib.asynccontextmanager
async def _lines(service: Service) -> AsyncIterator[tuple[Router, Link]]:
    run = service.folder / "run"
    async with (
        Link(run / "host.sock") as host,
        Router(host, pending=lambda _: None) as router,
        Link(run / "replica.sock") as replicator,
    ):
        yield router, replicator


async def _measure(service: Service, tenants: int, rate: float, seconds: float) -> Run:
    """Write for a while, and note how late every tenth write was in the store."""
    run = Run()
    names = _names(tenants)
    async with _lines(service) as (router, replicator), asyncio.TaskGroup() as tasks:
        for name in names:
            await _write(router, name, 0)
        for name in names:
            await _caught_up(router, replicator, name)
        await asyncio.sleep(_WARM_UP_S)
        run.before = await replicator.call("status", result_type=ReplicaStatus, deadline_ms=60_000)
        started = time.monotonic()
        number = 0
        while (due := started + number / rate) < started + seconds:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            run.late += time.monotonic() > due + 1.0
            number += 1
            work = _one(service.folder, router, replicator, names[number % tenants], number, run)
            tasks.create_task(work)
        run.written = number
        for name in names:
            await _caught_up(router, replicator, name)
        run.after = await replicator.call("status", result_type=ReplicaStatus, deadline_ms=60_000)
    return run


async def _one(data: Path, router: Router, replicator: Link, tenant: str, number: int, run: Run) -> None:
    await _write(router, tenant, number)
    if number % _SAMPLE:
        return
    answered = time.monotonic()
    position = decode((tenant_folder(data, tenant) / CAPTURED_FILE).read_bytes())
    assert position is not None
    # It was committed this moment, so it is in no file yet; the next one has it.
    asked = WaitReplicated(tenant, position.txid + 1)
    await replicator.call("wait", asked, result_type=Replicated, deadline_ms=60_000)
    run.lags_s.append(time.monotonic() - answered)


async def _write(router: Router, tenant: str, number: int) -> None:
    content = f"Write {number}: the meeting about the harbour was moved to {number % 12} o'clock, and the archive is closed."
    await router.call(tenant, CREATE, MemoryCreate(content=content), deadline_ms=60_000)


async def _caught_up(router: Router, replicator: Link, tenant: str) -> None:
    flushed = await router.call(tenant, FLUSH, Flush(), deadline_ms=60_000)
    asked = WaitReplicated(tenant, flushed.txid)
    while True:
        try:
            await replicator.call("wait", asked, result_type=Replicated, deadline_ms=60_000)
        except RemoteError:
            continue
        return


async def _outage(service: Service, proxy: FaultProxy, url: str, rate: float, seconds: float) -> None:
    """Take the store away under writes, bring it back, and see what is there in the end."""
    (tenant,) = _names(1)
    async with _lines(service) as (router, replicator):
        await _write(router, tenant, 0)
        await _caught_up(router, replicator, tenant)
        proxy.down()
        started = time.monotonic()
        number = 0
        while (due := started + number / rate) < started + seconds:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            number += 1
            await _write(router, tenant, number)
        await router.call(tenant, FLUSH, Flush())
        waiting = len(list((tenant_folder(service.folder, tenant) / "outbox").iterdir()))
        proxy.up()
        back = time.monotonic()
        await _caught_up(router, replicator, tenant)
        caught_up_s = time.monotonic() - back
    found = _rows_in_store(url, tenant)
    table.show(
        f"Store away for {seconds:.0f} s under {rate:.0f} writes/s",
        ["", "written", "files that waited", "caught up after", "lost"],
        [["s3", number + 1, waiting, f"{caught_up_s:.1f} s", number + 1 - found]],
    )


def _rows_in_store(url: str, tenant: str) -> int:
    store = open_store(url, CREDENTIALS)
    with tempfile.TemporaryDirectory(prefix="engram-bench-restored-") as folder:
        rebuild(Trees(store, None, Path(folder)).of(tenant), Path(folder) / "memory.db")
        connection = open_reader(Path(folder) / "memory.db")
        rows = int(connection.execute("SELECT count(*) FROM memories").get)
        connection.close()
    store.close()
    return rows


def _show_lags(kind: str, rate: float, runs: dict[int, Run]) -> None:
    rows = []
    for tenants, run in runs.items():
        assert run.after is not None
        lags = [f"{1000 * table.percentile(run.lags_s, share):.0f} ms" for share in (0.5, 0.99)]
        ships = [f"{1000 * lag_s:.0f} ms" for lag_s in (run.after.lag_p50_s, run.after.lag_p99_s)]
        rows.append([f"{tenants} tenants", run.written, *lags, *ships, run.late])
    title = f"{kind}: {rate:.0f} writes/s over all tenants"
    table.show(title, ["", "writes", "lag p50", "lag p99", "ship p50", "ship p99", "writes over 1 s late"], rows)


def _show_requests(kind: str, run: Run) -> None:
    """Extrapolate a tenant's day from what was counted: requests for each file, merging included, and five for each admission.

    The daily proof of a tenant that has changed comes on top: two restores, and a snapshot.
    """
    assert run.before is not None
    assert run.after is not None
    files = run.after.shipped_total - run.before.shipped_total
    per_file = {
        name: max(0, count - run.before.requests_total.get(name, 0)) / files for name, count in run.after.requests_total.items()
    }
    per_admission = {"put": 1.0, "get": 1.0, "head": 2.0, "list": 1.0}
    rows = []
    for day, (day_files, admissions) in _DAYS.items():
        day_requests = {
            name: day_files * per_file.get(name, 0.0) + admissions * per_admission.get(name, 0.0)
            for name in ("put", "get", "head", "list")
        }
        prices = [sum(count * price.get(name, 0.0) for name, count in day_requests.items()) / 1e6 for price in _PRICES.values()]
        rows.append(
            [day, day_files, *(f"{count:.0f}" for count in day_requests.values()), *(f"${price:.5f}" for price in prices)]
        )
    head = ["a tenant's day", "files", "PUT", "GET", "HEAD", "LIST", *_PRICES]
    table.show(f"{kind}: requests, without the daily proof (and {_LEASES_A_DAY} PUT a day for the node's lease)", head, rows)


def _show_memory(kind: str, service: Service) -> None:
    held = memory.of(service.program("tenants.replica.main").pid)
    table.show(f"{kind}: memory of the replicator", ["", "private"], [["", f"{held.private / 1024:.1f} MiB"]])


if __name__ == "__main__":
    main()
