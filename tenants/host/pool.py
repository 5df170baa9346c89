"""The engines of this node: started on demand, one per tenant, put to sleep when idle, held back when they keep crashing."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from engine.catalogue.lifecycle import HIBERNATE, Hibernate
from engine.client import Client
from engine.layout import engine_socket, tenant_folder
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.errors import database_corrupt
from engine.protocol.processes import EngineProcess, Exited
from tenants.host.caretaker import Caretaker
from tenants.host.fork_link import ForkLink

_log = structlog.get_logger()

_ENDING_WAIT_S = 20.0
"""How long a request waits for an engine that is ending, before a new one may take its place."""

_CRASHES_FREE = 3
"""So often an engine may fail before it answers anything; then its tenant waits, longer each time."""

_BACKOFF_MAX_S = 30.0

_BRIEF_S = 2.0
"""How long an engine that no customer has asked for may be idle."""

_EXITS_UNMATCHED_MAX = 256
"""News of an exit and the answer to the fork come on two connections, in any order: exits of unknown engines are kept."""


@dataclass(eq=False)
class _Engine:
    process: EngineProcess
    check_idle_at: float
    """``time.monotonic`` of the next look at its idle time."""
    idle_s: float
    """How long it may be idle."""
    ending: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class _Crashes:
    """How often a tenant's engine has failed at its start since it last did not."""

    count: int = 0
    not_before: float = 0.0


class Pool:
    """Knows every running engine. ``ensure`` may be called by any number of requests at once."""

    def __init__(self, data_folder: Path, *, idle_s: float) -> None:
        self._data_folder = data_folder
        self._idle_s = idle_s
        self._engines: dict[str, _Engine] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._exits_unmatched: dict[int, Exited] = {}
        self._crashes: dict[str, _Crashes] = {}
        self.caretaker = Caretaker(data_folder, wake=self._wake, is_awake=self._engines.__contains__)
        self.link = ForkLink(data_folder / "run" / "fork.sock", adopt=self._adopt, exited=self._exited)
        self.starts = 0
        self.hibernations = 0
        self.crashes = 0

    @property
    def size(self) -> int:
        """How many engines run."""
        return len(self._engines)

    async def ensure(self, tenant: str, *, briefly: bool = False) -> Path:
        """Return the socket of the tenant's engine, started if need be; ``database_corrupt`` when it is in quarantine.

        One that is started ``briefly`` sleeps again as soon as nobody asks it anything, unless it is ensured otherwise.
        """
        engine = self._engines.get(tenant)
        if engine is None or engine.ending:
            # Those who come while one is being started wait for that one.
            async with self._lock(tenant):
                await self._start(tenant)
            engine = self._engines.get(tenant)
        if engine is not None and not briefly and engine.idle_s < self._idle_s:
            engine.idle_s = self._idle_s
            engine.check_idle_at = time.monotonic() + self._idle_s
        return engine_socket(self._data_folder, tenant)

    async def hibernate_idle(self) -> None:
        """Look at the engines that are due, and end those that nobody has asked anything for the idle time."""
        now = time.monotonic()
        due = [engine for engine in self._engines.values() if engine.check_idle_at <= now and not engine.ending]
        for engine in due:
            async with self._lock(engine.process.tenant):
                await self._hibernate(engine)

    def _lock(self, tenant: str) -> asyncio.Lock:
        return self._locks.setdefault(tenant, asyncio.Lock())

    async def _start(self, tenant: str) -> None:
        engine = self._engines.get(tenant)
        if engine is not None and engine.ending:
            try:
                async with asyncio.timeout(_ENDING_WAIT_S):
                    await engine.gone.wait()
            except TimeoutError:
                message = "the engine is ending and does not come to its end"
                raise RemoteError(ErrorCode.UNAVAILABLE, message, retry_after=1) from None
            engine = self._engines.get(tenant)
        if engine is not None:
            return
        if self.caretaker.is_set_aside(tenant, tenant_folder(self._data_folder, tenant)):
            raise database_corrupt()
        self._check_backoff(tenant)
        process = await self.link.fork(tenant)
        self._engines.setdefault(tenant, self._running(process))
        self.starts += 1
        if (exited := self._exits_unmatched.pop(process.pid, None)) is not None:
            self._exited(exited)  # it ended before we had read that it began

    async def _hibernate(self, engine: _Engine) -> None:
        tenant = engine.process.tenant
        engine.check_idle_at = time.monotonic() + engine.idle_s
        try:
            async with await Client.connect(engine_socket(self._data_folder, tenant)) as client:
                engine.ending = True  # from here on, whoever needs it waits at the lock for the answer below
                answer = await client.call(HIBERNATE.name, Hibernate(idle_s=engine.idle_s), result_type=HIBERNATE.result)
        except RemoteError as error:
            engine.ending = False
            _log.warning("hibernation_failed", tenant=tenant, error=str(error))
            return
        engine.ending = answer.hibernating
        if answer.hibernating:
            self.hibernations += 1
            _log.info("engine_hibernates", tenant=tenant)
        else:
            engine.check_idle_at = time.monotonic() + max(0.5, engine.idle_s - answer.idle_s)

    def _running(self, process: EngineProcess) -> _Engine:
        idle_s = min(_BRIEF_S, self._idle_s)
        return _Engine(process, time.monotonic() + idle_s, idle_s)

    async def _wake(self, tenant: str) -> Path:
        return await self.ensure(tenant, briefly=True)

    def _adopt(self, processes: list[EngineProcess]) -> None:
        """Take the fork server's word for what runs."""
        known = {engine.process.pid: engine for engine in self._engines.values()}
        for engine in known.values():
            if engine.process.pid not in {process.pid for process in processes}:
                self._gone(engine)
        for process in processes:
            self._engines.setdefault(process.tenant, self._running(process)).idle_s = self._idle_s
        if processes:
            _log.info("engines_adopted", engines=len(processes))

    def _exited(self, exited: Exited) -> None:
        engine = self._engines.get(exited.tenant)
        if engine is None or engine.process.pid != exited.pid:
            self._exits_unmatched[exited.pid] = exited
            while len(self._exits_unmatched) > _EXITS_UNMATCHED_MAX:
                self._exits_unmatched.pop(next(iter(self._exits_unmatched)))
            return
        self._gone(engine)
        if exited.served:
            self._crashes.pop(exited.tenant, None)
        if exited.status == 0:
            return
        self.crashes += 1
        _log.warning("engine_crashed", tenant=exited.tenant, status=exited.status, served=exited.served)
        if not exited.served:
            crashes = self._crashes.setdefault(exited.tenant, _Crashes())
            crashes.count += 1
            if crashes.count >= _CRASHES_FREE:
                pause_s = min(_BACKOFF_MAX_S, 2.0 ** (crashes.count - _CRASHES_FREE))
                crashes.not_before = time.monotonic() + pause_s

    def _gone(self, engine: _Engine) -> None:
        tenant = engine.process.tenant
        del self._engines[tenant]
        engine.gone.set()
        self.caretaker.ended(tenant, tenant_folder(self._data_folder, tenant))

    def _check_backoff(self, tenant: str) -> None:
        crashes = self._crashes.get(tenant)
        if crashes is not None and (wait_s := crashes.not_before - time.monotonic()) > 0:
            raise RemoteError(ErrorCode.UNAVAILABLE, "the engine keeps failing at its start", retry_after=max(1, round(wait_s)))
