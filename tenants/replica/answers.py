"""The replicator's methods: reads what was asked, and hands it on to who knows."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from engine.protocol import ErrorCode, RemoteError, Request
from engine.service import Method
from tenants.messages.replica import (
    AskBackups,
    Backups,
    ControlFetched,
    ControlShipped,
    Prepare,
    Prepared,
    ReplicaStatus,
    Replicated,
    Restore,
    RestoreDone,
    RetentionSet,
    SetRetention,
    ShipControl,
    WaitReplicated,
)
from tenants.replica.census import Census
from tenants.replica.replication import Replication


class Answers:
    """Where there is no object store, ``replication`` is ``None``: nothing is carried anywhere, and nothing can be brought."""

    def __init__(self, census: Census, replication: Replication | None) -> None:
        self._census = census
        self._replication = replication

    @property
    def methods(self) -> Mapping[str, Method]:
        """By their names."""
        return {
            "status": self._status,
            "wait": self._wait,
            "backups": self._backups,
            "prepare": self._prepare,
            "restore": self._restore,
            "retention": self._retention,
            "ship_control": self._ship_control,
            "fetch_control": self._fetch_control,
        }

    async def _status(self, request: Request) -> ReplicaStatus:
        counts = await self._census.counts()
        return self._replication.add_to(counts) if self._replication is not None else counts

    async def _wait(self, request: Request) -> Replicated:
        asked = msgspec.msgpack.decode(request.params, type=WaitReplicated)
        return Replicated(await self._needed().shipping.wait(asked.tenant, asked.txid))

    async def _backups(self, request: Request) -> Backups:
        asked = msgspec.msgpack.decode(request.params, type=AskBackups)
        if self._replication is None:
            return Backups(replicating=False)
        return await self._replication.ledger.backups(asked.tenant)

    async def _prepare(self, request: Request) -> Prepared:
        asked = msgspec.msgpack.decode(request.params, type=Prepare)
        return await self._replication.recovery.prepare(asked) if self._replication is not None else Prepared()

    async def _restore(self, request: Request) -> RestoreDone:
        return await self._needed().recovery.restore(msgspec.msgpack.decode(request.params, type=Restore))

    async def _retention(self, request: Request) -> RetentionSet:
        asked = msgspec.msgpack.decode(request.params, type=SetRetention)
        if self._replication is not None:
            await self._replication.maintenance.set_retention(asked.seconds)
        return RetentionSet()

    async def _ship_control(self, request: Request) -> ControlShipped:
        return await self._needed().control.ship(msgspec.msgpack.decode(request.params, type=ShipControl))

    async def _fetch_control(self, request: Request) -> ControlFetched:
        return await self._replication.control.fetch() if self._replication is not None else ControlFetched(None)

    def _needed(self) -> Replication:
        if self._replication is None:
            raise RemoteError(ErrorCode.UNAVAILABLE, "nothing is replicated here: ENGRAM_REPLICA_URL is off")
        return self._replication
