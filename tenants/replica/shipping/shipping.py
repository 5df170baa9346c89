"""Ships what waits in the outboxes: every tenant's files in their order, one at a time, each tenant's turn after the others'.

Nothing is done for a tenant until somebody says that its outbox has changed (``look``) or waits for its files (``wait``). What
is done in a turn is in ``steps``, how a file is carried in ``shipper``.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from engine.layout import tenant_folder
from engine.protocol.errors import moved
from tenants.replica.backoff import Breaker
from tenants.replica.ownership.admission import Admission
from tenants.replica.ownership.admissions import Admissions
from tenants.replica.ownership.head import Head
from tenants.replica.shipping.figures import Figures
from tenants.replica.shipping.standing import Standing
from tenants.replica.shipping.steps import Steps
from tenants.replica.shipping.turns import Turns

AT_ONCE = 32
"""Files on their way. A store that takes 50 ms for one then takes 640 a second of this node."""

_FINISH_UNREACHABLE_S = 3.0
"""At the end, a store that does not answer is given up after this: what waits is shipped at the next start."""

_FINISH_TICK_S = 0.2


class Shipping:
    """Of all tenants of this node. ``run`` in a task."""

    def __init__(self, admissions: Admissions, steps: Steps, breaker: Breaker, figures: Figures) -> None:
        self._steps = steps
        self._breaker = breaker
        self._figures = figures
        self._standings: dict[str, Standing] = {}
        self._turns = Turns()
        admissions.listen(self._admitted)

    def look(self, tenant: str) -> None:
        """Take note that the tenant's outbox may hold something new."""
        self._standing(tenant).is_dirty = True
        self._turns.ask(tenant)

    async def wait(self, tenant: str, txid: int) -> int:
        """Return the last transaction in the store once it is ``txid`` or later; ``moved`` when another node has the tenant."""
        standing = self._standing(tenant)
        if standing.fenced:
            raise moved()
        if standing.admission is None or standing.head.txid < txid:
            self.look(tenant)
        await standing.reached(txid)
        return standing.head.txid

    def head(self, tenant: str) -> Head | None:
        """Return what the store has last of a tenant; ``None`` when it was not asked yet."""
        standing = self._standings.get(tenant)
        return standing.head if standing is not None and standing.admission is not None else None

    def changed(self) -> dict[str, int]:
        """Return tenants of which something was shipped, and up to which transaction, since they were ``maintained``."""
        return dict(self._figures.changed)

    def maintained(self, tenant: str, txid: int) -> None:
        """Take note that the tenant's history was looked after as it was at ``txid``."""
        if self._figures.changed.get(tenant, txid + 1) <= txid:
            del self._figures.changed[tenant]

    @property
    def fenced(self) -> int:
        """How many tenants another node has taken."""
        return sum(bool(standing.fenced) for standing in self._standings.values())

    @property
    def stuck(self) -> int:
        """How many tenants have a file that can't be shipped and keeps the others."""
        return sum(standing.is_stuck for standing in self._standings.values())

    @property
    def refused(self) -> int:
        """How many files are not what they say."""
        return sum(len(standing.refused) for standing in self._standings.values())

    async def run(self) -> None:
        """Ship, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(self._work())

    async def finish(self, seconds: float) -> bool:
        """Wait until nothing is left to ship; whether that came true in time. Say what may be left with ``look`` first."""
        started = time.monotonic()
        self._steps.is_ending = True
        while (spent := time.monotonic() - started) < seconds:
            if self._breaker.is_open and spent > _FINISH_UNREACHABLE_S:
                return False
            self._turns.hurry()
            try:
                await asyncio.wait_for(self._turns.nobody(), min(_FINISH_TICK_S, seconds - spent))
            except TimeoutError:
                continue
            return True
        return False

    async def _work(self) -> None:
        while True:
            tenant = await self._turns.next()
            again_in_s: float | None = None
            was_down = self._breaker.is_open
            try:
                await self._breaker.permission()
                again_in_s = await self._steps.take(self._standings[tenant])
            finally:
                self._turns.finished(tenant, again_in_s=again_in_s)
            if was_down and not self._breaker.is_open:
                self._turns.hurry()  # the store is back: nobody waits for its own time

    def _standing(self, tenant: str) -> Standing:
        standing = self._standings.get(tenant)
        if standing is None:
            tenant_folder(Path(), tenant)  # refuses what is no tenant's name
            standing = self._standings[tenant] = Standing(tenant)
        return standing

    def _admitted(self, tenant: str, admission: Admission) -> None:
        self._standing(tenant).admitted(admission)
        self._turns.ask(tenant, at_once=True)
