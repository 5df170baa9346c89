"""What could be restored of a tenant: how far the store has it, since when, and what was proven of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar

from engine.layout import tenant_folder
from engine.protocol import ErrorCode, RemoteError
from tenants.messages.replica import Backups
from tenants.replica import outbox
from tenants.replica.history import timeline
from tenants.replica.objects import ObjectStore, StoreRefused, StoreUnavailable
from tenants.replica.outbox import Listing
from tenants.replica.ownership.head import Head, find_head
from tenants.replica.shipping.shipping import Shipping
from tenants.replica.trees import Trees
from tenants.untrusted import Folder, Refused

T = TypeVar("T")

_EARLIEST_KEPT_S = 300.0
"""The beginning of what can be restored changes when old files are given up, once a day."""

_KEPT_MAX = 10_000


class Ledger:
    """Of all tenants of this node."""

    def __init__(
        self,
        data_folder: Path,
        store: ObjectStore,
        trees: Trees,
        shipping: Shipping,
        threads: Executor,
        *,
        add_proofs: Callable[[str, Backups], None] = lambda _tenant, _backups: None,
    ) -> None:
        """``add_proofs`` adds what is known of a tenant's retention, snapshots and drills."""
        self._data_folder = data_folder
        self._store = store
        self._trees = trees
        self._shipping = shipping
        self._threads = threads
        self._add_proofs = add_proofs
        self._earliest: dict[str, tuple[float, int | None]] = {}

    async def backups(self, tenant: str) -> Backups:
        """Return it; ``unavailable`` when the store has to be asked and does not answer."""
        path = tenant_folder(self._data_folder, tenant)
        waiting = await self._in_thread(lambda: _waiting(path))
        try:
            head = self._shipping.head(tenant)
            if head is None:
                head = await self._in_thread(lambda: find_head(self._trees.of(tenant)))
            earliest = await self._earliest_ms(tenant, head)
        except (StoreUnavailable, StoreRefused) as error:
            raise RemoteError(ErrorCode.UNAVAILABLE, "the object store can't be reached", retry_after=5) from error
        # The engine's own clock is not asked: when a file came into the outbox is known to the kernel.
        oldest_s = min((file.version[1] for file in waiting.files), default=0) / 1e9
        found = Backups(
            replicating=True,
            store=self._store.kind,
            encrypted=self._trees.encrypted,
            replicated_to=head.info.timestamp_ms if head.info is not None else None,
            txid=head.txid,
            backlog_files=len(waiting.files),
            backlog_bytes=sum(file.size for file in waiting.files),
            lag_ms=max(0, int(1000 * (time.time() - oldest_s))) if waiting.files else 0,
            earliest=earliest,
        )
        self._add_proofs(tenant, found)
        return found

    async def _earliest_ms(self, tenant: str, head: Head) -> int | None:
        if not head.txid:
            return None
        kept_until, earliest = self._earliest.get(tenant, (0.0, None))
        if time.monotonic() >= kept_until:
            earliest = await self._in_thread(lambda: timeline.earliest_ms(self._trees.of(tenant)))
            if len(self._earliest) >= _KEPT_MAX:
                self._earliest.clear()
            self._earliest[tenant] = time.monotonic() + _EARLIEST_KEPT_S, earliest
        return earliest

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _waiting(path: Path) -> Listing:
    try:
        with Folder(path) as folder:
            return outbox.list_files(folder)
    except Refused:
        return Listing()
