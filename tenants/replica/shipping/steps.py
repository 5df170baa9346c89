"""What is done in a tenant's turn, and what comes of each thing that can happen to a file:

- it is shipped: the next one has its turn;
- the store is down: it is tried again, later and later;
- another node has the tenant: the host is told to serve it no more, and the files stay;
- it is not what it says: it stays, the tenant is stuck until the file changes, and that is said and counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from engine.link import Link
from engine.protocol import RemoteError
from tenants.messages.host import Ensure, Ensured, Held, Hold, Release
from tenants.replica.backoff import Breaker
from tenants.replica.objects import StoreRefused, StoreUnavailable
from tenants.replica.outbox import OutboxFile
from tenants.replica.ownership.admission import Admission
from tenants.replica.ownership.admissions import Admissions
from tenants.replica.ownership.owner import Erased, Moved
from tenants.replica.sealing import KeyUnavailable
from tenants.replica.shipping.figures import Figures
from tenants.replica.shipping.shipper import Fenced, Shipper
from tenants.replica.shipping.standing import Standing
from tenants.untrusted import Refused

_log = structlog.get_logger()

_LOOK_PAUSE_S = 0.05
"""After a look that found nothing to ship: an outbox that is touched all the time is looked into no more often."""

UNFIT_PAUSE_S = 10.0
"""After news of an engine that may not go on as it is, until the store is asked whether it may now. Asking has effects: where
this disk is to be restored, the history gets another fence."""

_HOLD_MS = 60_000
"""An engine that is told to end has half a minute, and then some to be killed."""

_PASSING = frozenset({"changing", "missing"})
"""Reasons that may be others a moment later."""


class Steps:
    """For all tenants. Holds nothing of any."""

    def __init__(
        self,
        admissions: Admissions,
        shipper: Shipper,
        breaker: Breaker,
        figures: Figures,
        host: Link,
    ) -> None:
        self._admissions = admissions
        self._shipper = shipper
        self._breaker = breaker
        self._figures = figures
        self._host = host
        self.about_to_look: Callable[[str], None] = lambda _tenant: None
        """Told whose outbox is looked into next: what comes into it from then on is news."""
        self.is_live: Callable[[str], bool] = lambda _tenant: False
        """Whether a tenant's engine runs."""
        self.is_ending = False
        """Whether what can't be done now is left for the next start."""

    async def take(self, standing: Standing) -> float | None:
        """Do one thing. Return after how many seconds to do the next, ``None`` when there is nothing until somebody asks."""
        tenant = standing.tenant
        try:
            return await (self._tell_host(standing) if standing.fenced else self._next(standing))
        except (Moved, Erased, Fenced) as error:
            reason = type(error).__name__.lower()
            _log.error("tenant_fenced", tenant=tenant, reason=reason, head=standing.head.txid)
            self._admissions.settled(tenant)
            standing.fence(reason)
            return 0.0
        except (StoreUnavailable, StoreRefused) as error:
            wait_s = standing.backoff.next_s()
            say = _log.warning if isinstance(error, StoreUnavailable) else _log.error
            say("not_shipped", tenant=tenant, error=type(error).__name__, reason=str(error)[:200])
            if self._breaker.is_open:  # it is not this tenant's: who may try, and when, is the breaker's to say
                wait_s = 0.0
        except Refused as refused:
            wait_s = standing.backoff.next_s()
            _log.warning("outbox_not_read", tenant=tenant, reason=refused.reason)
        except Exception:
            wait_s = standing.backoff.next_s()
            _log.exception("shipping_failed", tenant=tenant)
        self._figures.failures += 1
        standing.is_dirty = True
        return wait_s

    async def _next(self, standing: Standing) -> float | None:
        if self._admissions.known(standing.tenant) is None and not await self._is_worth_asking(standing):
            return None
        admission = await self._admissions.of(standing.tenant)
        if admission.outcome in ("restore", "rebase"):
            return await self._wait_for_another_start(standing)
        was_dirty = standing.is_dirty
        if was_dirty:
            await self._look_into(standing)
        if standing.stale:
            await self._settle(standing, standing.stale.pop(0))
            return 0.0
        file = standing.next_file()
        if file is None:
            return _LOOK_PAUSE_S if was_dirty and standing.is_dirty else None
        await self._ship(standing, file, admission.epoch)
        return 0.0 if standing.files or standing.is_dirty else None

    async def _is_worth_asking(self, standing: Standing) -> bool:
        """Whether there is anything for whose sake the store need be asked: an engine that starts may only read."""
        standing.is_dirty = False
        self.about_to_look(standing.tenant)
        listing = await self._shipper.listing(standing.tenant)
        standing.is_dirty = bool(listing.files or listing.refused)
        return standing.is_dirty or bool(standing.waiters)

    async def _look_into(self, standing: Standing) -> None:
        standing.is_dirty = False
        self.about_to_look(standing.tenant)
        standing.listed(await self._shipper.listing(standing.tenant, standing.head.txid))
        if standing.has_gap:
            _log.error("outbox_has_a_gap", tenant=standing.tenant, head=standing.head.txid)

    async def _ship(self, standing: Standing, file: OutboxFile, epoch: int) -> None:
        try:
            shipped = await self._shipper.ship(standing.tenant, file, standing.head, epoch)
        except Refused as refused:
            self._refuse(standing, file, refused)
            return
        except KeyUnavailable:  # this tenant's, and no fault of the store
            raise
        except (StoreUnavailable, StoreRefused):
            self._breaker.failed()
            raise
        except Fenced:
            self._breaker.succeeded()
            raise
        self._breaker.succeeded()
        standing.shipped(shipped)
        info = shipped.info
        assert info is not None
        self._figures.note(
            tenant=standing.tenant, txid=shipped.txid, size=file.size, lag_s=time.time() - info.timestamp_ms / 1000
        )

    async def _settle(self, standing: Standing, file: OutboxFile) -> None:
        """Remove what the store has already."""
        try:
            await self._shipper.settle(standing.tenant, file, standing.head)
        except Refused as refused:
            self._refuse(standing, file, refused)
        except (StoreUnavailable, StoreRefused):
            self._breaker.failed()
            raise

    def _refuse(self, standing: Standing, file: OutboxFile, refused: Refused) -> None:
        if refused.reason in _PASSING:
            raise refused
        _log.error("outbox_file_refused", tenant=standing.tenant, file=file.name, reason=refused.reason)
        standing.refused[file.name] = file.version

    async def _wait_for_another_start(self, standing: Standing) -> float | None:
        """The store has what this disk has not, or this disk's files don't continue it: nothing is shipped before the engine
        has started from what is right.

        One that starts is given that, and what it captures then is news. If a living engine goes on capturing what is not
        right, it was let in while the store could not be asked, and has to start anew.
        """
        standing.is_dirty = False
        self.about_to_look(standing.tenant)
        listing = await self._shipper.listing(standing.tenant)
        is_news = bool(listing.files) and listing.files[-1].version[1] >= standing.admitted_ns
        if self.is_ending or not is_news or not self.is_live(standing.tenant):
            return None
        now = time.monotonic()
        standing.ask_again_at = standing.ask_again_at or now + UNFIT_PAUSE_S
        if now < standing.ask_again_at:  # who let the engine in finds out as well, and sooner
            return standing.ask_again_at - now
        self._admissions.settled(standing.tenant)
        admission = await self._admissions.of(standing.tenant)
        is_right = admission.outcome in ("new", "here")
        return 0.0 if is_right else await self._have_it_started_anew(standing, admission)

    async def _have_it_started_anew(self, standing: Standing, admission: Admission) -> float | None:
        tenant = standing.tenant
        if admission.outcome == "restore":  # another node has written since: what waits here belongs to no history
            raise Fenced
        _log.error("engine_started_anew", tenant=tenant, reason="its outbox does not continue what the store has")
        try:
            await self._host.call("hold", Hold(tenant, "rebase"), result_type=Held, deadline_ms=_HOLD_MS)
            await self._host.call("release", Release(tenant), result_type=Held)
            await self._host.call("ensure", Ensure(tenant, briefly=True), result_type=Ensured)
        except RemoteError as error:
            _log.warning("engine_not_started_anew", tenant=tenant, error=str(error.code))
            return standing.backoff.next_s()
        return None

    async def _tell_host(self, standing: Standing) -> float | None:
        if standing.is_told or self.is_ending:
            return None
        try:
            await self._host.call("hold", Hold(standing.tenant, standing.fenced), result_type=Held, deadline_ms=_HOLD_MS)
        except RemoteError as error:
            _log.warning("hold_not_told", tenant=standing.tenant, error=str(error.code))
            return standing.backoff.next_s()
        standing.is_told = True
        standing.backoff.reset()
        return None
