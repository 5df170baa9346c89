"""What a customer can do with the backups: see how far they reach, and restore, as a preview, beside, or in place.

The replicator fetches a state and hands it to an engine; here it is decided whether that may be, and what belongs around it:
what was just written is carried away first, a fork is told what must not come back in it, and has a key only when it is whole.
One restore of a database at a time; each takes minutes for a large one, and its request waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import msgspec
import structlog

from engine.catalogue.recovery import (
    FLUSH,
    FORGET,
    PURGES,
    RESTORE_PREVIEW,
    Flush,
    Forget,
    ListPurges,
    PreviewReport,
    RestorePreview,
)
from engine.link import Link
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.limits import DEADLINE_MAX_MS
from engine.protocol.moment import Clock, system_clock, to_text
from gateway.admission import caller
from gateway.api.errors import Problem, invalid
from quotas.plans import PLANS
from tenants.messages.replica import AskBackups, Backups, Replicated, Restore, RestoreDone, RestoreMode, WaitReplicated
from tenants.registry.databases import TooManyDatabases
from tenants.registry.keys import Principal
from tenants.registry.registry import Registry
from tenants.registry.signup import InvalidField
from tenants.router import Router

_log = structlog.get_logger()

_ASK_MS = 10_000
_FLUSH_MS = 60_000
"""A flush may have to take a whole database into a file first."""

_GRACE_US = 60_000_000
"""Whoever has read the earliest moment may still ask for it a minute later."""

_RETRY_S = 5


class Reach(msgspec.Struct, kw_only=True, frozen=True):
    """How far one database's backups reach. Times are microseconds since 1970."""

    backups: Backups
    earliest: int | None
    retention_s: int


class Fork(msgspec.Struct, kw_only=True, frozen=True):
    """A database that was restored beside its source."""

    database: str
    api_key: str
    restored_to: int


class Recovery:
    """Backups and restores of principals' databases."""

    def __init__(
        self, router: Router, replicator: Link, registry: Registry, *, replicating: bool, clock: Clock = system_clock
    ) -> None:
        """``replicating``: whether there is an object store at all."""
        self._router = router
        self._replicator = replicator
        self._registry = registry
        self._replicating = replicating
        self._clock = clock
        self._under_way: set[str] = set()

    async def reach(self, principal: Principal) -> Reach:
        """Return how far the principal's backups reach."""
        backups = await self._replicator.call("backups", AskBackups(principal.tenant), result_type=Backups, deadline_ms=_ASK_MS)
        retention_s = PLANS[principal.plan].recovery_s
        earliest = backups.earliest
        if earliest is not None:
            earliest = max(1000 * earliest, self._clock() - 1_000_000 * retention_s)
        return Reach(backups=backups, earliest=earliest, retention_s=retention_s)

    async def preview(self, principal: Principal, at: int) -> tuple[PreviewReport, RestoreDone]:
        """Say what a restore to ``at`` would do to today's memories."""
        with self._alone(principal.tenant):
            done = await self._restore(principal, at, "preview", after_txid=await self._check(principal, at))
            report: PreviewReport = await self._router.call(
                principal.tenant, RESTORE_PREVIEW, RestorePreview(), caller=caller(principal), deadline_ms=DEADLINE_MAX_MS
            )
            return report, done

    async def in_place(self, principal: Principal, at: int) -> RestoreDone:
        """Replace today's state by that of ``at``."""
        with self._alone(principal.tenant):
            after_txid = await self._check(principal, at, even_damaged=True)
            done = await self._restore(principal, at, "in_place", after_txid=after_txid)
            try:
                await self._carry_away(principal.tenant)
            except RemoteError as error:  # it is done, and carried away later
                _log.warning("restored_but_not_replicated", tenant=principal.tenant, error=str(error.code))
            _log.info("restored_in_place", tenant=principal.tenant, restored_to_ms=done.restored_to_ms, txid=done.txid)
            return done

    async def fork(self, principal: Principal, at: int, name: str | None) -> Fork:
        """Make a database of the state of ``at``; ``quota_exceeded`` when the plan allows no more databases."""
        with self._alone(principal.tenant):
            after_txid = await self._check(principal, at)
            database = await self._begin_fork(principal, name)
            try:
                done = await self._restore(principal, at, "fork", after_txid=after_txid, into=database)
                await self._carry_purges(principal, database)
                await self._carry_away(database)
                key = await self._registry.finish_fork(principal, database)
            except BaseException:
                await asyncio.shield(self._registry.drop_fork(database))
                raise
            _log.info("forked", tenant=principal.tenant, fork=database, restored_to_ms=done.restored_to_ms)
            return Fork(database=database, api_key=key, restored_to=1000 * done.restored_to_ms)

    async def _check(self, principal: Principal, at: int, *, even_damaged: bool = False) -> int:
        """Return the last transaction there is, captured, if the past may be asked for ``at``.

        A database that is damaged can be restored in place, and then 0 is returned. A preview and a fork need it whole: to
        compare with, and to say what was purged.
        """
        await self._check_moment(principal, at)
        try:
            return await self._flush(principal.tenant)
        except RemoteError as error:
            if error.code == ErrorCode.DATABASE_CORRUPT and even_damaged:
                return 0
            raise

    async def _restore(
        self, principal: Principal, at: int, mode: RestoreMode, *, after_txid: int, into: str = ""
    ) -> RestoreDone:
        """Have the state fetched and handed to an engine, once what was written up to ``after_txid`` is carried away."""
        request = Restore(tenant=principal.tenant, at_ms=at // 1000, mode=mode, into=into, after_txid=after_txid)
        return await self._replicator.call("restore", request, result_type=RestoreDone, deadline_ms=DEADLINE_MAX_MS)

    async def _check_moment(self, principal: Principal, at: int) -> None:
        """``invalid`` unless the principal's plan, and what the store has, reach back to ``at``."""
        if not self._replicating:
            raise Problem("conflict", "Nothing is replicated here, so there is nothing to restore.")
        reach = await self.reach(principal)
        # What was captured while the clock was fast lies ahead when that was set back, and a restore may be undone to it.
        if at > max(self._clock(), 1000 * (reach.backups.replicated_to or 0)):
            raise invalid("at", "lies in the future")
        oldest = self._clock() - 1_000_000 * reach.retention_s
        stored = None if reach.backups.earliest is None else 1000 * reach.backups.earliest
        if at < oldest - _GRACE_US or (stored is not None and at < stored):
            earliest = to_text(oldest if reach.earliest is None else reach.earliest)
            problem = invalid("at", f"must not be before {earliest}, the earliest moment that can be restored")
            problem.members["earliest"] = earliest
            raise problem

    async def _flush(self, tenant: str) -> int:
        """Have the engine capture what it has; return the last transaction."""
        flushed = await self._router.call(tenant, FLUSH, Flush(), deadline_ms=_FLUSH_MS)
        txid: int = flushed.txid
        return txid

    async def _begin_fork(self, principal: Principal, name: str | None) -> str:
        try:
            return await self._registry.begin_fork(principal, name=name, databases_max=PLANS[principal.plan].databases)
        except InvalidField as error:
            raise invalid(error.field, error.message) from error
        except TooManyDatabases as error:
            detail = f"The plan allows {error.limit} databases."
            raise Problem("quota_exceeded", detail, metric="databases", current=error.current, limit=error.limit) from error

    async def _carry_purges(self, principal: Principal, fork: str) -> None:
        """Erase from a fork what was purged from its source since: before anybody can read it."""
        pieces = self._router.stream(principal.tenant, PURGES, ListPurges(), caller=caller(principal))
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                if piece.purges:
                    await self._router.call(
                        fork, FORGET, Forget(purges=piece.purges), caller=caller(principal), deadline_ms=DEADLINE_MAX_MS
                    )

    async def _carry_away(self, tenant: str) -> None:
        """Return when what was restored is in the object store: lost with this disk, it comes back, and comes back so."""
        txid = await self._flush(tenant)
        await self._replicator.call("wait", WaitReplicated(tenant, txid), result_type=Replicated, deadline_ms=DEADLINE_MAX_MS)

    @contextlib.contextmanager
    def _alone(self, tenant: str) -> Iterator[None]:
        """``conflict`` when a restore of this database is under way."""
        if tenant in self._under_way:
            detail = "A restore of this database is under way."
            raise Problem("conflict", detail, headers={"Retry-After": str(_RETRY_S)}, retry_after=_RETRY_S)
        self._under_way.add(tenant)
        try:
            yield
        finally:
            self._under_way.discard(tenant)
