"""Answers the host's question before a tenant's first start: may this node serve it, and from what?

A disk that has nothing, or less than the object store, has the newest state staged. That may take longer than anybody waits: it
goes on, and the next question finds it. What was staged is good for as long as the admission that it was made for: a node that
lost the tenant in between makes it anew.

While the store can't be reached, a tenant with a database on this disk is let in all the same: an outage of the store is none
of the service. Whether another node has taken it meanwhile is found out with the first file that is shipped.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from engine.captured import Position
from engine.catalogue.recovery import RESTORE_DATABASE
from engine.layout import tenant_folder
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.errors import database_corrupt
from tenants.messages.replica import Prepared
from tenants.replica.history.failures import NothingToRestore
from tenants.replica.objects import StoreRefused, StoreUnavailable
from tenants.replica.ownership.admission import Admission
from tenants.replica.ownership.admissions import Admissions
from tenants.replica.ownership.local import read_local
from tenants.replica.recovery.errors import told
from tenants.replica.recovery.rebuilding import Rebuilding, Wanted
from tenants.replica.recovery.staging import Staging
from tenants.replica.shared_work import SharedWork
from tenants.untrusted import Folder, Refused

_log = structlog.get_logger()

_PATIENCE_S = 5.0
"""How long one question waits; the host asks again with the tenant's next request."""

_RETRY_AFTER_S = 2

_UNREACHABLE_S = 3.0
"""After this a database on this disk is served without the store's word."""

_LOOK_PAUSE_S, _LOOK_PAUSE_MAX_S, _LOOK_GROWTH = 0.25, 5.0, 1.5
"""Between two looks whether an engine has started from what it was given: most have after the first."""

_NAMES_MAX = 1000
"""Of a tenant's folder: it has a dozen."""

_GIVEN_S = 3600.0
"""So long a staged database waits for somebody to start its engine; then the disk's room is worth more."""


@dataclass(frozen=True)
class _Given:
    """What a tenant was given to start from, and on what terms."""

    name: str
    epoch: int
    head_txid: int


class Preparation:
    """``prepare`` may be called by any number of requests at once. An async context manager."""

    def __init__(self, admissions: Admissions, rebuilding: Rebuilding, staging: Staging, data_folder: Path) -> None:
        self._admissions = admissions
        self._rebuilding = rebuilding
        self._staging = staging
        self._data_folder = data_folder
        self._given: dict[str, _Given] = {}
        self._followed: set[str] = set()
        self._work: SharedWork[Prepared] = SharedWork()

    async def __aenter__(self) -> Self:
        await self._work.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._work.__aexit__(*exc_info)

    async def prepare(self, tenant: str) -> Prepared:
        """Say from what the tenant may be started; ``moved``, ``not_found`` when erased, ``unavailable`` when not now."""
        tenant_folder(self._data_folder, tenant)  # which refuses what is no tenant's name
        try:
            async with asyncio.timeout(_PATIENCE_S):
                with told(tenant):
                    return await self._work.of(tenant, lambda: self._prepare(tenant))
        except TimeoutError:
            message = "the database is being brought back from the object store"
            raise RemoteError(ErrorCode.UNAVAILABLE, message, retry_after=_RETRY_AFTER_S) from None

    async def _prepare(self, tenant: str) -> Prepared:
        admission = await self._admission(tenant)
        if admission is None:
            return Prepared()
        if admission.outcome in ("new", "here"):
            self._give_up(tenant)
            return Prepared()
        if admission.outcome == "rebase":
            self._give_up(tenant)
            self._follow(tenant, await self._position(tenant))
            return Prepared(rebase=admission.head.txid)
        return await self._given_before(tenant, admission) or await self._give(tenant, admission)

    async def _admission(self, tenant: str) -> Admission | None:
        """Return on what terms the tenant is this node's; ``None`` when that can't be found out and its disk will do."""
        has_database = await asyncio.to_thread(self._has, tenant, "memory.db", RESTORE_DATABASE)
        try:
            async with asyncio.timeout(_UNREACHABLE_S if has_database else None):
                return await self._admissions.of(tenant)
        except (StoreUnavailable, StoreRefused, TimeoutError) as error:
            if not has_database:
                raise
            _log.warning("tenant_served_without_the_store", tenant=tenant, error=type(error).__name__)
            return None

    async def _given_before(self, tenant: str, admission: Admission) -> Prepared | None:
        """Return what was given for this admission already, ``None`` when it must be made."""
        given = self._given.get(tenant)
        if given is None:
            return None
        if (given.epoch, given.head_txid) == (admission.epoch, admission.head.txid):
            if await asyncio.to_thread(self._staging.holds, given.name):
                return Prepared(staged=given.name)
            if await asyncio.to_thread(self._has, tenant, RESTORE_DATABASE):
                return Prepared()  # its engine has not taken it in yet
        self._give_up(tenant)
        self._admissions.settled(tenant)  # the folder holds something else than it did when it was admitted
        return await self._prepare(tenant)

    async def _give(self, tenant: str, admission: Admission) -> Prepared:
        head = admission.head
        wanted = Wanted(
            tenant=tenant,
            kind="same",
            txid=head.txid,
            follows_txid=head.txid,
            pages=head.info.pages if head.info is not None else 0,
        )
        position = await self._position(tenant)
        try:
            staged = await self._rebuilding.stage(wanted)
        except NothingToRestore as error:  # there is a head, and nothing that leads to it
            _log.error("history_broken", tenant=tenant, reason=str(error))
            raise database_corrupt() from error
        self._given[tenant] = _Given(staged.name, admission.epoch, head.txid)
        self._follow(tenant, position)
        return Prepared(staged=staged.name)

    def _give_up(self, tenant: str) -> None:
        given = self._given.pop(tenant, None)
        if given is not None:
            self._staging.remove(given.name)

    def _follow(self, tenant: str, position: Position | None) -> None:
        """See to it that shipping begins as soon as the tenant's engine has started from what it was given."""
        if tenant not in self._followed:
            self._followed.add(tenant)
            self._work.start(self._follow_up(tenant, position))

    async def _follow_up(self, tenant: str, position: Position | None) -> None:
        give_up_at = time.monotonic() + _GIVEN_S
        pause_s = _LOOK_PAUSE_S
        try:
            while time.monotonic() < give_up_at:
                await asyncio.sleep(pause_s)
                pause_s = min(_LOOK_PAUSE_MAX_S, pause_s * _LOOK_GROWTH)
                found = await self._position(tenant)
                if found == position:
                    continue
                position = found
                self._admissions.settled(tenant)
                with told(tenant):
                    if (await self._admissions.of(tenant)).outcome in ("new", "here"):
                        break
        except RemoteError as error:
            _log.warning("not_followed", tenant=tenant, error=str(error.code))  # shipping asks by itself, less often
        except Exception:
            _log.exception("not_followed", tenant=tenant)
        finally:
            self._followed.discard(tenant)
            self._give_up(tenant)

    async def _position(self, tenant: str) -> Position | None:
        """Return how far the tenant's engine says that it has captured."""
        try:
            return (await asyncio.to_thread(read_local, tenant_folder(self._data_folder, tenant))).position
        except Refused:
            return None

    def _has(self, tenant: str, *names: str) -> bool:
        """Whether any of these files is in the tenant's folder."""
        try:
            with Folder(tenant_folder(self._data_folder, tenant)) as folder:
                present = folder.names(names_max=_NAMES_MAX)
        except Refused:
            return False
        return any(name in present for name in names)
