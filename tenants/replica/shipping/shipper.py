"""Carries one file from an outbox into the object store: verified, put create-only, then removed here. In that order.

A put whose answer was lost is found at the next try by its digest. A file of the same number with another content is another
writer's: ``Fenced``. Reading has few threads, because it computes; putting has many, because it waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar

from engine.layout import tenant_folder
from tenants.replica import outbox
from tenants.replica.layout import INCREMENTS
from tenants.replica.objects import ObjectExists
from tenants.replica.outbox import Listing, OutboxFile
from tenants.replica.ownership.head import Head
from tenants.replica.shipping.parcel import Parcel, Reading
from tenants.replica.tree import FileInfo, NotOurs
from tenants.replica.trees import Trees
from tenants.untrusted import Folder, Refused

T = TypeVar("T")


class Fenced(Exception):
    """Another writer has put a file where ours was to be: another node has the tenant."""


class Shipper:
    """For all tenants. Holds nothing between two calls."""

    def __init__(self, data_folder: Path, trees: Trees, *, reading: Executor, putting: Executor) -> None:
        self._data_folder = data_folder
        self._spool = data_folder / "spool"
        self._trees = trees
        self._reading = reading
        self._putting = putting

    async def listing(self, tenant: str, after_txid: int | None = None) -> Listing:
        """Look into the tenant's outbox, for what follows on a transaction or for whatever there is; ``Refused`` when it is
        none."""
        return await self._in(self._reading, lambda: self._list(tenant, after_txid))

    async def ship(self, tenant: str, file: OutboxFile, head: Head, epoch: int) -> Head:
        """Carry the file that follows on ``head``, and return the new one.

        ``Refused`` when it is not what it says, or can't be removed here afterwards; ``Fenced``; ``StoreUnavailable``,
        ``StoreRefused``: then it stays where it is.
        """
        parcel = await self._parcel(tenant, file)
        try:
            info = _info(parcel, head, epoch)
            await self._in(self._putting, lambda: self._put(tenant, parcel, info))
        finally:
            parcel.discard()
        return Head(txid=file.max_txid, info=info)

    async def settle(self, tenant: str, file: OutboxFile, head: Head) -> None:
        """Remove a file whose transaction the store has; ``Fenced`` when what it has is another, otherwise as ``ship``."""
        parcel = await self._parcel(tenant, file)
        try:
            await self._in(self._putting, lambda: self._compare(tenant, parcel, head))
        finally:
            parcel.discard()

    def _list(self, tenant: str, after_txid: int | None) -> Listing:
        try:
            with Folder(tenant_folder(self._data_folder, tenant)) as folder:
                return outbox.list_files(folder, after_txid=after_txid)
        except Refused as refused:
            if refused.reason == "missing":
                return Listing()
            raise

    async def _parcel(self, tenant: str, file: OutboxFile) -> Parcel:
        reading = Reading(tenant_folder(self._data_folder, tenant), file, self._spool)
        while True:
            step = self._reading.submit(reading.step)
            try:
                parcel = await asyncio.wrap_future(step)
            except asyncio.CancelledError:
                step.add_done_callback(lambda _: reading.close())  # not while it is being made
                raise
            if parcel is not None:
                return parcel

    def _put(self, tenant: str, parcel: Parcel, info: FileInfo) -> None:
        file = parcel.file
        try:
            self._trees.of(tenant).put_or_find(INCREMENTS, file.min_txid, file.max_txid, parcel.body, info)
        except (ObjectExists, NotOurs) as error:
            raise Fenced from error
        outbox.remove(tenant_folder(self._data_folder, tenant), file)

    def _compare(self, tenant: str, parcel: Parcel, head: Head) -> None:
        file = parcel.file
        info = head.info
        if file.max_txid != head.txid or (head.entry is not None and head.entry.level != INCREMENTS):
            info = self._trees.of(tenant).info(INCREMENTS, file.min_txid, file.max_txid)
        if info is None:  # it was given up, being old
            raise Refused("stale")
        if info.batch != parcel.batch:
            raise Fenced
        outbox.remove(tenant_folder(self._data_folder, tenant), file)

    @staticmethod
    async def _in(threads: Executor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, work)


def _info(parcel: Parcel, head: Head, epoch: int) -> FileInfo:
    before = head.info
    # An engine that was taken over says any time. One far ahead would keep retention from this history for ever.
    timestamp_ms = min(parcel.timestamp_ms, time.time_ns() // 1_000_000)
    # The times of a history ascend, whatever clocks its nodes had: what is looked for by time is found by halving.
    if before is not None:
        timestamp_ms = max(timestamp_ms, before.timestamp_ms + 1)
    return FileInfo(
        timestamp_ms=timestamp_ms,
        batch=parcel.batch,
        previous=before.batch if before is not None else "",
        epoch=epoch,
        checksum=parcel.checksum,
        pages=parcel.pages,
        whole=parcel.whole,
    )
