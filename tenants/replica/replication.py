"""All that carries changes to an object store, put together.

Start, in this order: store, threads, lease, admissions, shipping, discovery, then one look over all outboxes. ``run`` has the
loops. Stop: ``finish`` ships what waits; then the loops are ended, the lease is given back, and the store is let go.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Self

import structlog

from engine.link import Link
from tenants.messages.replica import ReplicaStatus
from tenants.replica.backoff import Breaker
from tenants.replica.backups import Ledger
from tenants.replica.control import Control
from tenants.replica.maintenance.care import Care
from tenants.replica.maintenance.schedule import Maintenance
from tenants.replica.ownership.admissions import Admissions
from tenants.replica.ownership.lease import NodeLease
from tenants.replica.ownership.tenure import Tenure
from tenants.replica.recovery.recovery import Recovery
from tenants.replica.settings import ReplicatorSettings, node_id
from tenants.replica.shipping import parcel
from tenants.replica.shipping.discovery import Discovery, with_files
from tenants.replica.shipping.figures import Figures
from tenants.replica.shipping.shipper import Shipper
from tenants.replica.shipping.shipping import AT_ONCE, Shipping
from tenants.replica.shipping.steps import Steps
from tenants.replica.stores import open_store
from tenants.replica.trees import Trees

_log = structlog.get_logger()

_READING_THREADS = 2
"""Reading computes: more of them would take processors from the engines."""

_ASKING_THREADS = 8
"""For tenants that are served for the first time, each some ten requests. Apart from shipping, which may be waiting."""

_FINISH_S = 20.0
"""At the end, for what waits. The supervisor gives this program a little more."""


class Replication:
    """Of this node. An async context manager."""

    def __init__(self, settings: ReplicatorSettings) -> None:
        self._settings = settings
        self._figures = Figures()
        self._breaker = Breaker(time.monotonic)
        self._stack = AsyncExitStack()
        self._looking_after: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        settings, stack = self._settings, self._stack
        settings.spool_folder.mkdir(mode=0o700, exist_ok=True)
        parcel.sweep(settings.spool_folder)
        self._store = open_store(settings.url, settings.environment)
        stack.callback(self._store.close)
        reading, putting, asking, leasing = (
            self._threads(name, count)
            for name, count in (("read", _READING_THREADS), ("put", AT_ONCE), ("ask", _ASKING_THREADS), ("lease", 1))
        )
        self.trees = Trees(self._store, settings.master_key, settings.spool_folder)
        lease = NodeLease(self._store, node_id(settings.run_folder))
        self.tenure = Tenure(lease, self._breaker, leasing, memory=settings.data_folder / "replication" / "node")
        stack.push_async_callback(self.tenure.release)
        host = await stack.enter_async_context(Link(settings.run_folder / "host.sock"))
        self.admissions = Admissions(settings.data_folder, self.trees, self.tenure, self._breaker, asking)
        await stack.enter_async_context(self.admissions)
        shipper = Shipper(settings.data_folder, self.trees, reading=reading, putting=putting)
        steps = Steps(self.admissions, shipper, self._breaker, self._figures, host)
        self.shipping = Shipping(self.admissions, steps, self._breaker, self._figures)
        self.discovery = Discovery(settings.data_folder, self.shipping.look)
        steps.about_to_look, steps.is_live = self.discovery.arm, self.discovery.is_live
        care = Care(settings.data_folder, store_ms=lease.store_ms)
        self.maintenance = Maintenance(self.trees, self.admissions, self.shipping, settings.data_folder, care=care)
        self.ledger = Ledger(
            settings.data_folder, self._store, self.trees, self.shipping, asking, add_proofs=self.maintenance.add_proofs
        )
        self.control = Control(self._store, self.trees.control_sealing(), settings.data_folder)
        self.recovery = Recovery(
            self.trees, self.admissions, self.shipping, settings.run_folder / "host.sock", settings.data_folder
        )
        await stack.enter_async_context(self.recovery)
        await stack.enter_async_context(self.discovery)
        _log.info("replicating", store=self._store.kind, encrypted=self.trees.encrypted, node=lease.node)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def run(self) -> None:
        """Replicate, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.tenure.run())
            tasks.create_task(self.shipping.run())
            tasks.create_task(self.discovery.run())
            self._looking_after = tasks.create_task(self.maintenance.run())
            await self._look_over_all()

    async def finish(self) -> None:
        """Ship what is in the outboxes, as far as the store lets us: engines have ended, or go on and are seen to later."""
        if self._looking_after is not None:
            self._looking_after.cancel()  # what it was at is done again
        await self._look_over_all()
        if not await self.shipping.finish(_FINISH_S):
            _log.warning("not_all_shipped", reason="the store does not answer in time; it is shipped at the next start")

    def add_to(self, status: ReplicaStatus) -> ReplicaStatus:
        """Return what is on the disk together with what is done about it."""
        figures = self._figures
        status.replicating = True
        status.store, status.encrypted = self._store.kind, self.trees.encrypted
        status.reachable = not self._breaker.is_open
        status.refused += self.shipping.refused
        status.lag_p50_s, status.lag_p99_s = figures.lag_s(0.5), figures.lag_s(0.99)
        status.shipped_total, status.shipped_bytes_total = figures.shipped, figures.shipped_bytes
        status.failures_total = self._breaker.failures
        status.requests_total = dict(self._store.requests)
        status.fenced, status.stuck = self.shipping.fenced, self.shipping.stuck
        status.lease_s = self.tenure.left_s
        self.maintenance.add_to(status)
        return status

    async def _look_over_all(self) -> None:
        for tenant in await asyncio.to_thread(with_files, self._settings.tenants_folder):
            self.shipping.look(tenant)

    def _threads(self, name: str, count: int) -> ThreadPoolExecutor:
        threads = ThreadPoolExecutor(count, thread_name_prefix=name)
        # Nobody waits for a request that hangs: what it would do is found out at the next start.
        self._stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        return threads
