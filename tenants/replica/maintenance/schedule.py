"""Has tenants' histories looked after: merged when there are files enough, and once a day, where something changed, proven.

Merging and proving (``care``) take one tenant at a time each, and never the same. Who has not changed costs nothing: shipping
says who has, and what is known of each tenant outlives the process (``upkeep``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import structlog

from engine.protocol import RemoteError
from tenants.messages.replica import Backups, ReplicaStatus
from tenants.replica.history import levels
from tenants.replica.maintenance import daily
from tenants.replica.maintenance.care import Care, kept_ms
from tenants.replica.maintenance.drill import read_verified
from tenants.replica.maintenance.upkeep import Records, Upkeep
from tenants.replica.objects import StoreRefused, StoreUnavailable
from tenants.replica.ownership.admission import Admission, Erased, Moved
from tenants.replica.ownership.admissions import Admissions
from tenants.replica.shipping.shipping import Shipping
from tenants.replica.trees import Trees
from tenants.untrusted import Refused

_log = structlog.get_logger()

T = TypeVar("T")

TICK_S = 5.0
"""How often is looked whether there is something to be done, in memory alone."""

_PAUSE_S = 600.0
"""A tenant that could not be looked after now is tried again after this."""

_NOT_NOW = (StoreUnavailable, StoreRefused, Moved, Erased, Refused, RemoteError, OSError)
"""Nothing can be said about the history: the store, the disk, or another node is in the way."""


class Maintenance:
    """Of the tenants that this node has. ``run`` in a task."""

    def __init__(
        self,
        trees: Trees,
        admissions: Admissions,
        shipping: Shipping,
        data_folder: Path,
        *,
        care: Care | None = None,
    ) -> None:
        self._trees = trees
        self._admissions = admissions
        self._shipping = shipping
        self._care = care or Care(data_folder)
        self._records = Records(data_folder)
        self._retention = self._records.retention()
        self._known: dict[str, Upkeep] = {}
        self._changed: set[str] = set()
        """Tenants that have something to be proven."""
        self._grown: set[str] = set()
        """Those that may have files to be merged."""
        self._met: set[str] = set()
        """Tenants admitted that have a history of which this disk knows nothing."""
        self._pauses: dict[str, float] = {}
        self._proving = ""
        self._merging = ""
        self._drills = 0
        self._last_drill_ms = 0
        self._merger = ThreadPoolExecutor(1, thread_name_prefix="merge")
        self._prover = ThreadPoolExecutor(1, thread_name_prefix="prove")
        admissions.listen(self._admitted)

    async def run(self) -> None:
        """Look after histories, until cancelled."""
        await self.load()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repeat(self.merge_due))
            tasks.create_task(self._repeat(self.prove_due))

    async def load(self) -> None:
        """Take up what is known from before; ``run`` begins with it."""
        self._known |= await asyncio.to_thread(lambda: dict(self._records.all()))
        self._changed |= {tenant for tenant, upkeep in self._known.items() if upkeep.has_changed}
        self._grown |= self._changed

    async def set_retention(self, seconds: dict[str, int]) -> None:
        """Take how far back plans look. Tenants that are not named keep what was said of them last."""
        self._retention |= {tenant: max(0, each) for tenant, each in seconds.items()}
        await asyncio.to_thread(self._records.write_retention, dict(self._retention))

    def add_proofs(self, tenant: str, backups: Backups) -> None:
        """Add what is known of a tenant's retention, snapshots and drills."""
        upkeep = self._known.get(tenant, Upkeep())
        backups.retention_s = self._retention.get(tenant)
        backups.last_snapshot_at = upkeep.snapshot_at or None
        backups.last_verified_at = upkeep.verified_at or None
        backups.verification_error = upkeep.error

    def add_to(self, status: ReplicaStatus) -> None:
        """Add what came of the drills."""
        status.drills_total = self._drills
        status.drills_failed = sum(bool(upkeep.error) for upkeep in self._known.values())
        status.last_drill_at = self._last_drill_ms / 1000

    async def merge_due(self) -> None:
        """Take note of who has changed, and merge files where there are enough."""
        await self._notice()
        for tenant in [tenant for tenant in self._grown if tenant != self._proving and not self._is_paused(tenant)]:
            upkeep = self._known[tenant]
            txid = upkeep.changed_txid
            if levels.is_due(upkeep.merged_txid, txid):
                self._merging = tenant
                if not await self._try(self._merge, tenant):
                    continue
                upkeep.merged_txid = txid
                await self._write(tenant)
            self._grown.discard(tenant)

    async def prove_due(self) -> None:
        """Prove the backups whose turn has come, those first that have waited longest."""
        due = [tenant for tenant in self._changed if self._is_due(tenant)]
        for tenant in sorted(due, key=lambda tenant: self._known[tenant].tried_at):
            if tenant != self._merging and not self._is_paused(tenant):
                self._proving = tenant
                await self._try(self._prove, tenant)
        await self._expire_due()

    async def _expire_due(self) -> None:
        """Give up what is too old of those that have not changed since their last snapshot: nobody else would."""
        for tenant, upkeep in list(self._known.items()):
            retention_s = self._retention.get(tenant)
            if retention_s is None or upkeep.has_changed or upkeep.expired_to == upkeep.snapshot_at:
                continue
            if self._care.now_ms() > upkeep.snapshot_at + kept_ms(retention_s) and not self._is_paused(tenant):
                await self._try(self._expire, tenant)

    async def _expire(self, tenant: str) -> None:
        upkeep, retention_s = self._known[tenant], self._retention[tenant]
        await self._admissions.of(tenant)
        await _in(self._prover, lambda: self._care.expire(self._trees.of(tenant), retention_s))
        upkeep.expired_to = upkeep.snapshot_at
        await self._write(tenant)

    async def _try(self, step: Callable[[str], Awaitable[None]], tenant: str) -> bool:
        """Do something for a tenant; whether that could be done now."""
        try:
            await step(tenant)
        except (Moved, Erased):
            self._forget(tenant)
            return False
        except _NOT_NOW as error:
            self._pauses[tenant] = time.monotonic() + _PAUSE_S
            _log.warning("maintenance_postponed", tenant=tenant, error=type(error).__name__)
            return False
        finally:
            if step == self._merge:
                self._merging = ""
            elif step == self._prove:
                self._proving = ""
        return True

    def _forget(self, tenant: str) -> None:
        """It is another node's, or was erased. Should it come back, the store knows of its last drill."""
        self._known.pop(tenant, None)
        self._changed.discard(tenant)
        self._grown.discard(tenant)
        self._records.remove(tenant)

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await step()
            except Exception:
                _log.exception("maintenance_failed")

    async def _notice(self) -> None:
        for tenant, txid in self._shipping.changed().items():
            upkeep = self._known.setdefault(tenant, Upkeep())
            upkeep.changed_txid = max(txid, upkeep.changed_txid)
            self._grown.add(tenant)
            if tenant not in self._changed:
                self._changed.add(tenant)
                upkeep.changed_at = self._care.now_ms()
                await self._write(tenant)
            self._shipping.maintained(tenant, txid)
        while self._met:
            await self._try(self._recall, self._met.pop())

    async def _recall(self, tenant: str) -> None:
        """Take what the store knows of the last drill: it was another disk's."""
        found = await _in(self._merger, lambda: read_verified(self._trees.of(tenant)))
        txid = (await self._admissions.of(tenant)).head.txid
        upkeep = self._known.setdefault(tenant, Upkeep())
        upkeep.changed_txid = max(txid, upkeep.changed_txid)
        upkeep.changed_at = upkeep.changed_at or self._care.now_ms()
        if found is not None:
            upkeep.proven_txid, upkeep.error = found.txid, found.error
            upkeep.verified_at, upkeep.tried_at = found.verified_at, found.tried_at
        if upkeep.has_changed:
            self._changed.add(tenant)
        await self._write(tenant)

    async def _merge(self, tenant: str) -> None:
        epoch = (await self._admissions.of(tenant)).epoch
        await _in(self._merger, lambda: self._care.merge(self._trees.of(tenant), epoch))

    async def _prove(self, tenant: str) -> None:
        upkeep, changed_txid = self._known[tenant], self._known[tenant].changed_txid
        admission = await self._admissions.of(tenant)
        head = self._shipping.head(tenant) or admission.head
        pages = head.info.pages if head.info is not None else 0
        retention_s = self._retention.get(tenant)
        proof = await _in(
            self._prover,
            lambda: self._care.prove(self._trees.of(tenant), admission.epoch, pages=pages, retention_s=retention_s),
        )
        found = proof.report.verified
        self._drills += 1
        self._last_drill_ms = upkeep.tried_at = found.tried_at
        upkeep.verified_at, upkeep.error = found.verified_at, found.error
        upkeep.snapshot_at = proof.snapshot_at or upkeep.snapshot_at
        upkeep.proven_txid = max(changed_txid, found.txid)
        upkeep.changed_txid = max(upkeep.changed_txid, upkeep.proven_txid)
        upkeep.changed_at = self._care.now_ms()
        if not upkeep.has_changed:
            self._changed.discard(tenant)
        await self._write(tenant)

    def _admitted(self, tenant: str, admission: Admission) -> None:
        if tenant not in self._known and admission.head.txid:
            self._met.add(tenant)

    def _is_due(self, tenant: str) -> bool:
        upkeep = self._known[tenant]
        return daily.is_due(tenant, self._care.now_ms(), changed_at=upkeep.changed_at, tried_at=upkeep.tried_at)

    def _is_paused(self, tenant: str) -> bool:
        until = self._pauses.get(tenant)
        if until is not None and time.monotonic() >= until:
            del self._pauses[tenant]
        return tenant in self._pauses

    async def _write(self, tenant: str) -> None:
        await asyncio.to_thread(self._records.write, tenant, self._known[tenant])


async def _in(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, work)
