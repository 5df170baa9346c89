"""Tells the replicator how far back each database's plan lets one go: at the start, once a day, and of every new database.

What it was not told of it keeps for good, so that a message which comes late costs storage and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

import structlog
from sqlalchemy.exc import SQLAlchemyError

from engine.link import Link
from engine.protocol import RemoteError
from quotas.plans import PLANS
from tenants.messages.replica import RetentionSet, SetRetention
from tenants.registry.registry import Registry

_log = structlog.get_logger()

_EVERY_S = 86_400.0
_RETRY_S = 30.0
_AT_ONCE = 10_000
"""Databases in one message: half a megabyte."""


class Retention:
    """What the replicator must be told. Call ``run`` in a task."""

    def __init__(self, replicator: Link) -> None:
        self._replicator = replicator
        self._new: dict[str, int] = {}
        self._noted = asyncio.Event()

    def note(self, database: str, plan: str) -> None:
        """Have a database told of soon."""
        self._new[database] = PLANS[plan].recovery_s
        self._noted.set()

    async def run(self, registry: Registry) -> None:
        """Tell until cancelled; again in a while when the replicator does not answer."""
        all_due_at = time.monotonic()
        while True:
            self._noted.clear()
            try:
                if time.monotonic() >= all_due_at:
                    plans = await registry.database_plans()
                    await self._tell({database: PLANS[plan].recovery_s for database, plan in plans.items()})
                    all_due_at = time.monotonic() + _EVERY_S
                await self._tell_new()
            except (RemoteError, SQLAlchemyError) as error:
                _log.warning("retention_not_told", error=type(error).__name__)
                await asyncio.sleep(_RETRY_S)
            else:
                await self._wait(all_due_at - time.monotonic())

    async def _tell_new(self) -> None:
        new, self._new = self._new, {}
        try:
            await self._tell(new)
        except RemoteError:
            self._new = new | self._new
            raise

    async def _tell(self, seconds: dict[str, int]) -> None:
        items = list(seconds.items())
        for first in range(0, len(items), _AT_ONCE):
            piece = dict(items[first : first + _AT_ONCE])
            await self._replicator.call("retention", SetRetention(piece), result_type=RetentionSet)

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._noted.wait()
