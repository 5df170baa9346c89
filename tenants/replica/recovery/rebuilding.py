"""Puts databases together in staging folders, two at a time, in threads.

A thread can't be ended: whoever stops waiting leaves it to finish, and what it has made is removed then.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import structlog

from engine.catalogue.recovery import STAGED_DATABASE, RestoreNote
from tenants.replica.history.rebuild import Rebuilt, rebuild
from tenants.replica.recovery.staging import Staging
from tenants.replica.trees import Trees

_log = structlog.get_logger()

_AT_ONCE = 2
"""Each takes a core, and the node serves others meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which state of which database, and what it is for."""

    tenant: str
    kind: Literal["same", "earlier", "fork"]
    """As ``RestoreNote`` has it."""
    at_ms: int | None = None
    txid: int | None = None
    """Neither: the newest."""
    follows_txid: int = 0
    """For the note: after which transaction the restored database's history goes on."""
    pages: int = 0
    """About how large the database is, as far as is known: for whether the disk has room."""


@dataclass(frozen=True, kw_only=True)
class Staged:
    """A database that waits in a staging folder."""

    name: str
    rebuilt: Rebuilt


class Rebuilding:
    """Belongs to one event loop; ``close`` at its end."""

    def __init__(self, trees: Trees, staging: Staging) -> None:
        self._trees = trees
        self._staging = staging
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="rebuilding")

    def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def stage(self, wanted: Wanted) -> Staged:
        """Put it together.

        ``NothingToRestore``, ``BrokenHistory``, ``StoreUnavailable``, ``StoreRefused``; ``disk_full`` where there is no room.
        """
        building = self._threads.submit(self._build, wanted)
        try:
            return await asyncio.wrap_future(building)
        except asyncio.CancelledError:
            building.add_done_callback(self._discard)
            raise

    def _build(self, wanted: Wanted) -> Staged:
        self._staging.check_room(wanted.pages)
        folder = self._staging.make()
        try:
            tree = self._trees.of(wanted.tenant)
            rebuilt = rebuild(tree, folder / STAGED_DATABASE, at_ms=wanted.at_ms, txid=wanted.txid)
            self._staging.seal(folder, _note(folder.name, wanted, rebuilt))
        except BaseException:
            self._staging.remove(folder.name)
            raise
        if rebuilt.avoided:
            _log.error("history_damaged", tenant=wanted.tenant, avoided=rebuilt.avoided)
        _log.info("database_rebuilt", tenant=wanted.tenant, kind=wanted.kind, txid=rebuilt.txid, pages=rebuilt.pages)
        return Staged(name=folder.name, rebuilt=rebuilt)

    def _discard(self, building: Future[Staged]) -> None:
        if not building.cancelled() and building.exception() is None:
            self._staging.remove(building.result().name)


def _note(name: str, wanted: Wanted, rebuilt: Rebuilt) -> RestoreNote:
    return RestoreNote(
        id=name,
        kind=wanted.kind,
        txid=wanted.follows_txid,
        page_bytes=rebuilt.page_bytes,
        pages=rebuilt.pages,
        checksum=rebuilt.checksum,
        timestamp_ms=rebuilt.timestamp_ms,
    )
