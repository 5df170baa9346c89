"""What the replicator has done to tenants' databases: replaced by a restored one, compared with one, given up to another node.

Each is done under the lock of the tenant's start, so that requests wait meanwhile. An engine never finds its file exchanged
beneath it: it ends in order first, which captures what it has committed, and takes the restored one in at its next start.
When any process is killed in between, the next start finds the restored database in the folder or it does not, never half.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from engine.catalogue.recovery import Restored
from engine.layout import tenant_folder
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.errors import database_corrupt
from tenants.host import last_words
from tenants.host.gate import Passage
from tenants.host.pool import Pool
from tenants.messages.host import Replaced

_log = structlog.get_logger()

_STARTS_MAX = 3
"""Of an engine that has to capture what a killed one left, or to take a database in, and is killed at that."""


class Handover:
    """Belongs to one pool."""

    def __init__(self, pool: Pool, data_folder: Path) -> None:
        self._pool = pool
        self._data_folder = data_folder

    async def replace(self, tenant: str, staged: str) -> Replaced:
        """Have the tenant served from the staged database; the one of before is gone then, but in the object store."""
        folder = tenant_folder(self._data_folder, tenant)
        async with self._pool.lock(tenant):
            passage = await self._come_to_rest(tenant, folder)
            captured_txid, captured_ms = last_words.captured(folder)
            await self._pool.link.adopt(tenant, staged)
            self._pool.crash_record.forget(tenant)
            restored = await self._have_taken_in(tenant, folder, staged, passage)
            is_set_aside = self._pool.caretaker.is_set_aside(tenant, folder)
        if restored.error:
            _log.error("restored_database_refused", tenant=tenant)
            raise RemoteError(ErrorCode.INTERNAL, f"the restored database was not taken in: {restored.error}")
        if is_set_aside:
            raise database_corrupt()
        _log.info("database_replaced", tenant=tenant)
        return Replaced(memories=restored.memories, captured_txid=captured_txid, captured_ms=captured_ms)

    async def lend(self, tenant: str, staged: str) -> None:
        """Put the staged database beside the tenant's own, to be compared with it; the engine may run."""
        async with self._pool.lock(tenant):
            await self._pool.link.adopt(tenant, staged, preview=True)

    async def hold(self, tenant: str, reason: str) -> None:
        """End the tenant's engine, and start none until the replicator lets it in again: another node has taken the tenant."""
        tenant_folder(self._data_folder, tenant)  # which refuses what is no tenant's name
        _log.error("tenant_held", tenant=tenant, reason=reason)
        self._pool.gate.hold(tenant)
        async with self._pool.lock(tenant):
            await self._pool.end(tenant)
            self._pool.gate.hold(tenant)  # news that it serves may have come meanwhile

    def release(self, tenant: str) -> None:
        """Serve the tenant again, if the replicator lets it in again."""
        folder = tenant_folder(self._data_folder, tenant)
        if self._pool.gate.release(tenant):
            _log.info("tenant_released", tenant=tenant)
            if folder.is_dir():
                self._pool.caretaker.ended(tenant, folder)

    async def _come_to_rest(self, tenant: str, folder: Path) -> Passage:
        """End the engine, with all captured that it has committed.

        One that was killed leaves that to its successor; when that fails as often as it may, it is given up: the database may
        be why somebody restores it.
        """
        for _ in range(_STARTS_MAX):
            await self._pool.end(tenant)
            passage = await self._pool.gate.open(tenant)  # an empty disk has the newest state put into the folder first
            if self._pool.caretaker.is_set_aside(tenant, folder) or last_words.is_at_rest(folder):
                return passage
            try:
                await self._starts(tenant, passage)
            except RemoteError as error:
                _log.warning("not_captured_before_a_restore", tenant=tenant, error=str(error))
        await self._pool.end(tenant)
        return await self._pool.gate.open(tenant)

    async def _have_taken_in(self, tenant: str, folder: Path, staged: str, passage: Passage) -> Restored:
        """Start the engine until it has said what became of the staged database."""
        for _ in range(_STARTS_MAX):
            serves = await self._starts(tenant, passage)
            restored = last_words.restored(folder)
            if restored is not None and restored.id == staged:
                return restored
            if serves:
                raise RemoteError(ErrorCode.BROKEN, "the engine does not say what became of the restored database")
        raise RemoteError(ErrorCode.UNAVAILABLE, "the engine keeps failing to take the restored database in", retry_after=1)

    async def _starts(self, tenant: str, passage: Passage) -> bool:
        """Start the tenant's engine; whether it serves. Migrating, and taking in, take as long as they take."""
        await self._pool.start(tenant, passage)
        engine = self._pool.engine(tenant)
        if engine is None:
            return False
        await engine.started.wait()
        return engine.serving
