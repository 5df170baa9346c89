"""Before a tenant's engine starts for the first time in this host's life, the replicator is asked: may this node serve it, and
from what?

It alone knows whether another node has the tenant, and whether the object store holds more than this disk. It is asked as well
whenever there is no database in the folder, until an engine has served. Who ran when the host started was let in before.

Without an answer nobody is let in, whatever lies on the disk: it may be a copy of last week, and what is written to it would
be lost. The supervisor starts the replicator again within a second, and requests wait longer than that.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from engine.layout import tenant_folder
from engine.link import Link
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.errors import moved
from tenants.messages.replica import Prepare, Prepared

_log = structlog.get_logger()

_RETURN_WAIT_S = 5.0
"""How long a start waits for a replicator that does not answer: several times what it takes to start."""

_RETRY_S = 0.1

_ANSWER_MS = 8_000
"""It answers ``unavailable`` by itself after five seconds of restoring, and goes on; a request has ten."""

_NOT_REACHED = (ErrorCode.UNAVAILABLE, ErrorCode.LOST, ErrorCode.DRAINING)

_REFUSED_S = 2.0
"""For so long a tenant that this node may not serve is not asked about again: each question costs a request to the store."""

_HELD_S = 30.0
"""For so long nobody is asked about a tenant that another node was found to have; then it may be ours to take again."""

_REFUSED_MAX = 10_000
"""Of those that are remembered; the first are forgotten first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """What the gate says to who may start."""

    rebase: int | None = None
    """After which transaction the tenant's history goes on, where that is not its own last."""


Adopt = Callable[[str, str], Awaitable[None]]


class Gate:
    """``open`` before each start; ``served`` says when that need not be asked again, ``hold`` that the answer would be no."""

    def __init__(self, data_folder: Path, replica: Link | None, *, adopt: Adopt) -> None:
        """``replica`` is the line to the replicator; ``None`` where nothing is replicated: everybody is let in.

        ``adopt`` puts a staged database into a tenant's folder.
        """
        self._data_folder = data_folder
        self._replica = replica
        self._adopt = adopt
        self._known: set[str] = set()
        self._held: dict[str, float] = {}
        """Until when, of ``time.monotonic``, nobody starts them; they count as held until one serves again."""
        self._refused: dict[str, tuple[float, RemoteError]] = {}

    @property
    def held(self) -> int:
        """How many tenants are not served here because another node has taken them."""
        return len(self._held)

    def hold(self, tenant: str) -> None:
        """Let nobody start the tenant's engine for a while, and then only if the replicator lets it in."""
        self._held[tenant] = time.monotonic() + _HELD_S
        self._known.discard(tenant)

    def release(self, tenant: str) -> bool:
        """Have the replicator asked about the tenant again; whether it was held."""
        was_held = self._held.pop(tenant, None) is not None
        self._known.discard(tenant)
        self._refused.pop(tenant, None)
        return was_held

    def check_held(self, tenant: str) -> None:
        """``moved`` for a tenant that is held."""
        if time.monotonic() < self._held.get(tenant, 0.0):
            raise moved()

    def served(self, tenant: str) -> None:
        """Note that the tenant's engine answers requests: whatever it was given to begin with, it has taken in."""
        self._known.add(tenant)
        self._held.pop(tenant, None)

    async def open(self, tenant: str) -> Passage:
        """Return when the tenant may be started here and its folder holds what it is to start from.

        ``moved`` and ``not_found`` (erased) are final for a while; ``unavailable`` while the replicator restores the database,
        or does not answer.
        """
        if self._replica is None or self._may_start(tenant):
            return Passage()
        self._check_refused(tenant)
        try:
            prepared = await self._ask(self._replica, tenant)
        except RemoteError as error:
            if error.code in (ErrorCode.MOVED, ErrorCode.NOT_FOUND):
                self._refuse(tenant, error)
            raise
        if prepared.staged is not None:
            await self._take_over(tenant, prepared.staged)
        return Passage(rebase=prepared.rebase)

    def _may_start(self, tenant: str) -> bool:
        return tenant in self._known and os.path.lexists(tenant_folder(self._data_folder, tenant) / "memory.db")

    async def _ask(self, replica: Link, tenant: str) -> Prepared:
        give_up_at = time.monotonic() + _RETURN_WAIT_S
        while True:
            try:
                return await replica.call("prepare", Prepare(tenant), result_type=Prepared, deadline_ms=_ANSWER_MS)
            except RemoteError as error:
                if error.code not in _NOT_REACHED or "retry_after" in error.details:
                    raise  # these are its words, not those of the line to it
                if time.monotonic() >= give_up_at:
                    message = "the replicator does not answer, and only it knows whether this database may be served here"
                    raise RemoteError(ErrorCode.UNAVAILABLE, message, retry_after=1) from error
            await asyncio.sleep(_RETRY_S)

    async def _take_over(self, tenant: str, staged: str) -> None:
        try:
            await self._adopt(tenant, staged)
        except RemoteError as error:
            _log.error("adoption_failed", tenant=tenant, error=str(error))
            message = "the restored database could not be put into its place"
            raise RemoteError(ErrorCode.UNAVAILABLE, message, retry_after=1) from error
        _log.info("restored_database_adopted", tenant=tenant)

    def _refuse(self, tenant: str, error: RemoteError) -> None:
        self._refused.pop(tenant, None)
        self._refused[tenant] = time.monotonic() + _REFUSED_S, error
        if len(self._refused) > _REFUSED_MAX:
            del self._refused[next(iter(self._refused))]

    def _check_refused(self, tenant: str) -> None:
        until, error = self._refused.get(tenant, (0.0, None))
        if error is not None and time.monotonic() < until:
            raise RemoteError(error.code, error.message, **error.details)
