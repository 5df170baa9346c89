"""Whether this node may serve and replicate a tenant: asked of the object store once, and known while the node's lease lasts.

Who asks at the same time waits for the same answer. Nothing is remembered of an attempt that failed. A lease that was lost
makes all of it unknown: another node may have taken any of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Self

import structlog

from engine.layout import tenant_folder
from tenants.replica.backoff import Breaker
from tenants.replica.objects import StoreRefused, StoreUnavailable
from tenants.replica.ownership.admission import Admission, Local, admit
from tenants.replica.ownership.local import read_local
from tenants.replica.ownership.tenure import Tenure
from tenants.replica.sealing import KeyUnavailable
from tenants.replica.shared_work import SharedWork
from tenants.replica.trees import Trees
from tenants.untrusted import Refused

_log = structlog.get_logger()

Heard = Callable[[str, Admission], None]


class Admissions:
    """Of all tenants of this node. An async context manager."""

    def __init__(self, data_folder: Path, trees: Trees, tenure: Tenure, breaker: Breaker, threads: Executor) -> None:
        """``threads``: where the store is asked; it blocks."""
        self._data_folder = data_folder
        self._trees = trees
        self._tenure = tenure
        self._breaker = breaker
        self._threads = threads
        self._known: dict[str, tuple[int, Admission]] = {}
        self._doubtful: set[str] = set()
        """Tenants whose folder was changed while they were asked about."""
        self._listeners: list[Heard] = []
        self._work: SharedWork[Admission] = SharedWork()

    async def __aenter__(self) -> Self:
        await self._work.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._work.__aexit__(*exc_info)

    def listen(self, heard: Heard) -> None:
        """Have each new admission told."""
        self._listeners.append(heard)

    def known(self, tenant: str) -> Admission | None:
        """Return what is known without asking."""
        generation, admission = self._known.get(tenant, (0, None))
        return admission if generation == self._tenure.generation else None

    async def of(self, tenant: str) -> Admission:
        """Return on what terms this node has the tenant.

        ``Moved`` when another node has it, ``Erased``, ``StoreUnavailable``, ``StoreRefused``; ``Refused`` when its folder
        holds what can't be read. Whoever stops waiting does not end the question.
        """
        if (admission := self.known(tenant)) is not None:
            return admission
        return await self._work.of(tenant, lambda: self._admission(tenant))

    def settled(self, tenant: str) -> None:
        """Forget what is known: the tenant's folder holds something else now, such as what was restored."""
        self._known.pop(tenant, None)
        self._doubtful.add(tenant)

    async def _admission(self, tenant: str) -> Admission:
        while True:
            await self._tenure.held()
            generation = self._tenure.generation
            self._doubtful.discard(tenant)
            try:
                loop = asyncio.get_running_loop()
                admission = await loop.run_in_executor(self._threads, self._admit, tenant)
            except (Refused, KeyUnavailable):  # this tenant's, and no fault of the store
                raise
            except (StoreUnavailable, StoreRefused):
                self._breaker.failed()
                raise
            except Exception:
                self._breaker.succeeded()
                raise
            self._breaker.succeeded()
            if generation == self._tenure.generation and tenant not in self._doubtful:
                self._known[tenant] = generation, admission
                _log.info("tenant_admitted", tenant=tenant, outcome=admission.outcome, epoch=admission.epoch,
                          head=admission.head.txid)  # fmt: skip
                for heard in self._listeners:
                    heard(tenant, admission)
                return admission

    def _admit(self, tenant: str) -> Admission:
        local = read_local(tenant_folder(self._data_folder, tenant))
        return admit(self._trees.of(tenant), self._tenure.lease, local, hint=_hint(local))


def _hint(local: Local) -> int:
    """Return which transaction is likely the store's last: the one before those that wait here. It saves listings."""
    if local.outbox is not None:
        return local.outbox[0] - 1
    return local.position.txid if local.position is not None else 0
