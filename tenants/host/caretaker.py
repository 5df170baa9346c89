"""Wakes sleeping databases when something in them is due to be erased, and lets them sleep again.

An engine that ends leaves word of when. One that left none (it crashed, was killed, or is of an older version) is woken at
once: what it has committed may not have been captured yet, and waits in its log. A tenant that nothing is due for costs an
entry in a table, and none of the processor.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from engine.catalogue.lifecycle import HOUSEKEEP, Housekeep
from engine.client import Client
from engine.layout import tenant_folder
from engine.protocol import ErrorCode, RemoteError
from tenants.host import last_words

_log = structlog.get_logger()

_AT_ONCE_MAX = 2
"""Engines woken at the same time: nobody waits for them, and requests share the machine."""

_WAKE_PAUSE_S = 60.0
"""No database is woken more often, whatever its engine says, unless somebody has used it in between."""

_SILENT_PAUSE_S, _SILENT_SPREAD_S = 0.25, 0.5
"""Before an engine that left no word is woken: who uses it comes first, and those that died together don't come all at once."""

_FAILED_PAUSE_S = 600.0
"""After this a database that could not be tended is tried again; after a minute when there was no room for it."""

_PIECES_MAX = 200
"""Of one waking, some 50 ms each: the rest comes a minute later, and an engine that is never done holds up no others."""

_PIECE_PAUSE_S = 0.02

_TEND_S = 30.0
"""The longest that one engine may keep one of the few who wake."""

_NOT_TO_BE_WOKEN = (ErrorCode.DATABASE_CORRUPT, ErrorCode.MOVED, ErrorCode.NOT_FOUND)
"""Set aside, served by another node, erased: nothing is tried again until that has changed."""

_CALENDAR_CHECK_S = 3600.0
"""The longest sleep: the clock may be set meanwhile."""

Wake = Callable[[str], Awaitable[Path]]


class Caretaker:
    """Call ``run`` in a task, and tell it which engines start and end."""

    def __init__(self, data_folder: Path, *, wake: Wake, is_awake: Callable[[str], bool]) -> None:
        """``wake`` starts a tenant's engine for a moment and returns its socket."""
        self._data_folder = data_folder
        self._wake = wake
        self._is_awake = is_awake
        self._due: dict[str, float] = {}
        """When to wake whom, in seconds since 1970."""
        self._calendar: list[tuple[float, str]] = []
        """The same as a heap, with entries that no longer hold."""
        self._woken_at: dict[str, float] = {}
        self._silent: set[str] = set()
        """Those that had left no word when they were looked at."""
        self._changed = asyncio.Event()
        self._set_aside: set[str] = set()
        self.wakings = 0
        """How often an engine was started to do its housekeeping."""

    @property
    def set_aside(self) -> int:
        """How many databases are known to be in quarantine."""
        return len(self._set_aside)

    async def run(self) -> None:
        """Look once over all folders, then wake who is due until cancelled."""
        await self._look_over()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE_MAX):
                tasks.create_task(self._tend_for_ever())

    def used(self, tenant: str) -> None:
        """Note that somebody asks for the database: should its engine crash then, it may be woken at once again."""
        self._woken_at.pop(tenant, None)

    def ended(self, tenant: str, folder: Path, *, not_before_s: float = 0.0) -> None:
        """Note what an engine has said at its end. One that said nothing is woken soon, but ``not_before_s`` from now."""
        self._due.pop(tenant, None)
        self._silent.discard(tenant)
        if self.is_set_aside(tenant, folder):
            return
        said = last_words.due(folder)
        if said is None:
            self._silent.add(tenant)
            pause_s = _SILENT_PAUSE_S + random.uniform(0, _SILENT_SPREAD_S)  # noqa: S311  no secret
            self._plan(tenant, time.time() + max(pause_s, not_before_s))
        elif said.at is not None:
            self._plan(tenant, said.at / 1_000_000)

    def is_set_aside(self, tenant: str, folder: Path) -> bool:
        """Whether the database is in quarantine now."""
        if last_words.is_quarantined(folder):
            self._set_aside.add(tenant)
            return True
        self._set_aside.discard(tenant)
        return False

    def _plan(self, tenant: str, at: float) -> None:
        # If the clock has been set back since, the waking lies ahead: it counts as one of now.
        at = max(at, min(self._woken_at.get(tenant, 0.0), time.time()) + _WAKE_PAUSE_S)
        self._due[tenant] = at
        heapq.heappush(self._calendar, (at, tenant))
        self._changed.set()

    async def _look_over(self) -> None:
        for tenant, folder in await asyncio.to_thread(lambda: list(last_words.tenants_on_disk(self._data_folder))):
            if not self._is_awake(tenant) and tenant not in self._due:
                self.ended(tenant, folder)
            await asyncio.sleep(0)

    async def _tend_for_ever(self) -> None:
        while True:
            tenant = await self._next()
            try:
                await self._tend(tenant)
            except (RemoteError, OSError) as error:
                code = error.code if isinstance(error, RemoteError) else None
                if code in _NOT_TO_BE_WOKEN:
                    continue
                _log.info("housekeeping_failed", tenant=tenant, error=str(error))
                self._plan(tenant, time.time() + (_WAKE_PAUSE_S if code == ErrorCode.UNAVAILABLE else _FAILED_PAUSE_S))

    async def _next(self) -> str:
        """Return the next tenant to be woken, when it is time."""
        while True:
            while self._calendar and self._calendar[0][0] <= time.time():
                at, tenant = heapq.heappop(self._calendar)
                if self._due.get(tenant) == at:
                    del self._due[tenant]
                    if not self._is_awake(tenant):  # one that is awake tends itself, and leaves word when it ends
                        return tenant
            self._changed.clear()
            wait_s = _CALENDAR_CHECK_S
            if self._calendar:
                wait_s = min(wait_s, max(0.0, self._calendar[0][0] - time.time()))
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _tend(self, tenant: str) -> None:
        folder = tenant_folder(self._data_folder, tenant)
        if not folder.is_dir():
            return  # it has been erased meanwhile, and to wake it would make it anew
        if tenant in self._silent and last_words.due(folder) is not None:
            self.ended(tenant, folder)  # it was about to end when it was looked at: its parent had died
            return
        self._silent.discard(tenant)
        self._woken_at[tenant] = time.time()
        socket = await self._wake(tenant)
        self.wakings += 1
        async with asyncio.timeout(_TEND_S), await Client.connect(socket) as engine:
            for _ in range(_PIECES_MAX):
                housekept = await engine.call(HOUSEKEEP.name, Housekeep(), result_type=HOUSEKEEP.result)
                if housekept.next_due is None or housekept.next_due > time.time() * 1_000_000:
                    break
                await asyncio.sleep(_PIECE_PAUSE_S)
