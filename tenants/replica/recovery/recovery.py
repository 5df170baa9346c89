"""Brings databases back from the object store: the newest state for an empty disk, any earlier one for whoever asks.

A state is put together in a staging folder; the host has it moved into the tenant's, and the tenant's engine, in its box, is
the first to open it. Nothing here opens a database. Of one tenant one restore is under way at a time.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from engine.layout import tenant_folder
from engine.link import Link
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.errors import invalid
from engine.protocol.limits import DEADLINE_MAX_MS
from tenants.messages.host import Lend, Lent, Replace, Replaced
from tenants.messages.replica import Prepare, Prepared, Restore, RestoreDone
from tenants.replica.layout import INCREMENTS
from tenants.replica.objects import StoreRefused, StoreUnavailable
from tenants.replica.ownership.admissions import Admissions
from tenants.replica.recovery.errors import told
from tenants.replica.recovery.preparation import Preparation
from tenants.replica.recovery.rebuilding import Rebuilding, Staged, Wanted
from tenants.replica.recovery.staging import Staging
from tenants.replica.shipping.shipping import Shipping
from tenants.replica.tree import NotOurs
from tenants.replica.trees import Trees

_TRY_AGAIN_S = 10
"""A restore of a small database takes a second; one of a gigabyte, half a minute."""

_SHIPPED_WAIT_S = 30.0
"""For what was written before a restore to be in the store. It takes milliseconds, unless the store is away or far behind."""

_BEFORE_WAIT_S = 5.0
"""For the last file before an ``in_place`` to be in the store, which knows best when it was captured."""


class Recovery:
    """Answers ``prepare`` and ``restore``. An async context manager: enter it before requests are served, leave it after."""

    def __init__(self, trees: Trees, admissions: Admissions, shipping: Shipping, host_socket: Path, data_folder: Path) -> None:
        self._trees = trees
        self._admissions = admissions
        self._shipping = shipping
        self._host = Link(host_socket)
        self._data_folder = data_folder
        self._staging = Staging(data_folder)
        self._rebuilding = Rebuilding(trees, self._staging)
        self._preparation = Preparation(admissions, self._rebuilding, self._staging, data_folder)
        self._restoring: set[str] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._staging.clear)
        await self._stack.enter_async_context(self._host)
        self._stack.callback(self._rebuilding.close)
        await self._stack.enter_async_context(self._preparation)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def prepare(self, asked: Prepare) -> Prepared:
        """Say from what the tenant may be started; ``moved``, ``not_found`` when erased, ``unavailable`` when not now."""
        return await self._preparation.prepare(asked.tenant)

    async def restore(self, asked: Restore) -> RestoreDone:
        """Fetch the state at a moment and hand it to an engine.

        ``invalid`` names ``at`` when nothing is as old, ``into`` when that is a database already; ``too_many`` while another
        restore of the same database is under way; ``disk_full``, ``unavailable``, ``moved``, ``not_found`` as they say; and
        ``database_corrupt`` when the store's objects are damaged.
        """
        for name in (asked.tenant, asked.into) if asked.mode == "fork" else (asked.tenant,):
            tenant_folder(self._data_folder, name)  # which refuses what is no tenant's name
        if asked.tenant in self._restoring:
            message = "this database is being restored already"
            raise RemoteError(ErrorCode.TOO_MANY, message, retry_after=_TRY_AGAIN_S)
        self._restoring.add(asked.tenant)
        try:
            with told(asked.tenant):
                return await self._restore(asked)
        finally:
            self._restoring.remove(asked.tenant)

    async def _restore(self, asked: Restore) -> RestoreDone:
        admission = await self._admissions.of(asked.tenant)
        if asked.mode == "fork" and not await self._is_new(asked.into):
            raise invalid("into", "is a database already")
        if asked.after_txid:
            await self._shipped(asked.tenant, asked.after_txid)
        head = self._shipping.head(asked.tenant) or admission.head
        staged = await self._rebuilding.stage(
            Wanted(
                tenant=asked.tenant,
                kind="fork" if asked.mode == "fork" else "earlier",
                at_ms=None if head.info is not None and head.info.timestamp_ms <= asked.at_ms else asked.at_ms,
                follows_txid=0 if asked.mode == "fork" else head.txid,
                pages=head.info.pages if head.info is not None else 0,
            )
        )
        try:
            return await self._hand_over(asked, staged)
        finally:
            await asyncio.to_thread(self._staging.remove, staged.name)

    async def _shipped(self, tenant: str, txid: int) -> None:
        """Return when a transaction is in the store; ``unavailable`` when that takes longer than anybody should wait."""
        try:
            async with asyncio.timeout(_SHIPPED_WAIT_S):
                await self._shipping.wait(tenant, txid)
        except TimeoutError:
            message = "what was written last has not reached the object store yet; nothing was changed"
            raise RemoteError(ErrorCode.UNAVAILABLE, message, retry_after=_TRY_AGAIN_S) from None

    async def _is_new(self, tenant: str) -> bool:
        """Whether nothing is stored of a tenant, here or there. It is this node's then."""
        admission = await self._admissions.of(tenant)
        head = self._shipping.head(tenant) or admission.head
        has_database = await asyncio.to_thread(os.path.lexists, tenant_folder(self._data_folder, tenant) / "memory.db")
        return admission.outcome == "new" and not head.txid and not has_database

    async def _hand_over(self, asked: Restore, staged: Staged) -> RestoreDone:
        done = RestoreDone(restored_to_ms=staged.rebuilt.timestamp_ms, txid=staged.rebuilt.txid)
        if asked.mode == "preview":
            await self._host.call("lend", Lend(asked.tenant, staged.name), result_type=Lent)
            return done
        tenant = asked.into if asked.mode == "fork" else asked.tenant
        replaced = await self._host.call(
            "replace", Replace(tenant, staged.name), result_type=Replaced, deadline_ms=DEADLINE_MAX_MS
        )
        done.memories = replaced.memories
        if asked.mode == "in_place":
            done.before_ms = await self._captured_ms(tenant, replaced)
        return done

    async def _captured_ms(self, tenant: str, before: Replaced) -> int:
        """Return when the last change before was captured, as the store has it: a restore asks the store.

        The engine's own word may be another where its clock was set back, and must do while the store is away.
        """
        if not before.captured_txid:
            return 0
        try:
            async with asyncio.timeout(_BEFORE_WAIT_S):
                await self._shipping.wait(tenant, before.captured_txid)
                tree = self._trees.of(tenant)
                info = await asyncio.to_thread(tree.info, INCREMENTS, before.captured_txid, before.captured_txid)
        except (TimeoutError, StoreUnavailable, StoreRefused, NotOurs, RemoteError):
            info = None
        return before.captured_ms if info is None else info.timestamp_ms
