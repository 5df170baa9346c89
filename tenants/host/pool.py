"""The engines of this node: started on demand, one per tenant, put to sleep when idle or when memory is short, held back when
they keep crashing, killed when they hang.

A start goes through ``Gate`` (may it be served here?), ``StartQueue`` (few at once), ``Room`` (memory) and the fork server, in
this order. What each of these decides is its own; this module knows which engines run and tells the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import structlog

from engine.catalogue.lifecycle import Idleness
from engine.layout import engine_socket, tenant_folder
from engine.link import Link
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.errors import database_corrupt
from engine.protocol.processes import EngineProcess, Exited, Served
from tenants.host import last_words
from tenants.host.caretaker import Caretaker
from tenants.host.crashes import Crashes
from tenants.host.fork_link import ForkLink
from tenants.host.gate import Gate, Passage
from tenants.host.memory import Memory
from tenants.host.recency import Ask, Recency
from tenants.host.room import Room
from tenants.host.running_engine import RunningEngine
from tenants.host.starts import StartQueue
from tenants.host.suspicion import Suspicion

_log = structlog.get_logger()

_ENDING_WAIT_S = 20.0
"""How long a request waits for an engine that is ending, before a new one may take its place."""

_KILL_AFTER_S = 30.0
"""After this an engine that was told to end is killed. It drains for 10 s, captures what is left, and checkpoints."""

_BRIEF_S = 2.0
"""How long an engine that no customer has asked for may be idle."""

_IDLE_CHECK_PAUSE_S = 0.5

_STARTS_PER_CORE = 2
"""At once: one computes while the other waits for the disk."""


class Pool:
    """Knows every running engine. ``ensure`` may be called by any number of requests at once."""

    def __init__(
        self,
        data_folder: Path,
        *,
        idle_s: float,
        memory_bytes_max: int,
        replica: Link | None = None,
        kill_after_s: float = _KILL_AFTER_S,
    ) -> None:
        """``replica``: the line to the replicator; ``None`` where nothing is replicated."""
        self._data_folder = data_folder
        self._idle_s = idle_s
        self._kill_after_s = kill_after_s
        self._engines: dict[str, RunningEngine] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._forking: dict[str, set[int]] = {}
        """Tenants whose engine is being forked, with the processes that have ended meanwhile: that news comes on another
        connection than the answer to the fork, in any order."""
        self.crash_record = Crashes()
        self._recency = Recency()
        self.memory = Memory(memory_bytes_max)
        self.caretaker = Caretaker(data_folder, wake=self._wake, is_awake=self._is_awake)
        self.link = ForkLink(data_folder / "run" / "fork.sock", adopt=self._adopt, served=self._served, exited=self._exited)
        self.gate = Gate(data_folder, replica, adopt=self.link.adopt)
        self.queue = StartQueue(slots=_STARTS_PER_CORE * (os.cpu_count() or 1))
        self.room = Room(self.memory, self._recency, measure=self.link.measure, ask_to_end=self._evict)
        self.suspicion = Suspicion(terminate=self.link.terminate)
        self.starts = 0
        self.hibernations = 0
        self.crashes = 0

    @property
    def size(self) -> int:
        """How many engines run."""
        return len(self._engines)

    def engine(self, tenant: str) -> RunningEngine | None:
        """Return the tenant's engine if it runs."""
        return self._engines.get(tenant)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return what must run as long as the pool is used."""
        return [self.link.run(), self.room.run(), self.suspicion.run(), self._sweep(), self._care()]

    async def ensure(self, tenant: str, *, briefly: bool = False) -> Path:
        """Return the socket of the tenant's engine, started if need be; ``database_corrupt`` when it is in quarantine.

        One that is started ``briefly`` sleeps again as soon as nobody asks it anything, unless it is ensured otherwise.
        """
        engine = self._engines.get(tenant)
        if engine is None or engine.is_going:
            # Those who come while one is being started wait for that one.
            async with self.lock(tenant):
                await self.start(tenant)
            engine = self._engines.get(tenant)
        if engine is not None:
            self._recency.used(tenant, time.monotonic())
            if not briefly:
                self.caretaker.used(tenant)
                if engine.idle_s < self._idle_s:
                    engine.idle_s = self._idle_s
                    engine.check_idle_at = time.monotonic() + self._idle_s
        return engine_socket(self._data_folder, tenant)

    def suspect(self, tenant: str, *, busy_s: float) -> None:
        """Have a look at an engine that gave somebody no answer; it may be working for others for ``busy_s`` more."""
        if (engine := self._engines.get(tenant)) is not None:
            self.suspicion.suspect(engine, busy_s=busy_s)

    # Starting

    def lock(self, tenant: str) -> asyncio.Lock:
        """Return the lock of a tenant's start and end; it lives as long as somebody holds it or waits."""
        return self._locks.setdefault(tenant, asyncio.Lock())

    async def start(self, tenant: str, passage: Passage | None = None) -> None:
        """Start the tenant's engine unless it runs, or say why not. Call it with the tenant's lock held.

        Whoever has been at the gate already brings what it said.
        """
        engine = self._engines.get(tenant)
        if engine is not None and engine.ending and not await engine.has_gone(_ENDING_WAIT_S):
            message = "the engine is ending and does not come to its end"
            raise RemoteError(ErrorCode.UNAVAILABLE, message, retry_after=1)
        if tenant in self._engines:
            return
        self._check_may_start(tenant)
        passage = passage or await self.gate.open(tenant)
        await self.queue.enter(tenant)
        try:
            await self.room.reserve(tenant)
            await self._fork(tenant, passage)
        finally:
            if tenant not in self._engines:
                self.queue.leave(tenant)
                self.room.release(tenant)

    def _check_may_start(self, tenant: str) -> None:
        folder = tenant_folder(self._data_folder, tenant)
        self.gate.check_held(tenant)
        if self.caretaker.is_set_aside(tenant, folder) and not last_words.is_restore_pending(folder):
            raise database_corrupt()
        if (wait_s := self.crash_record.wait_s(tenant, time.monotonic())) > 0:
            raise RemoteError(ErrorCode.UNAVAILABLE, "the engine keeps failing", retry_after=max(1, round(wait_s)))

    async def _fork(self, tenant: str, passage: Passage) -> None:
        with contextlib.suppress(OSError):  # the node has made it; should somebody remove it, engines must come back
            engine_socket(self._data_folder, tenant).parent.mkdir(mode=0o700, exist_ok=True)
        ended = self._forking[tenant] = set()
        try:
            process = await self.link.fork(tenant, passage.rebase)
        finally:
            del self._forking[tenant]
        self.starts += 1
        if process.pid not in ended:
            self._add(process)
            self.queue.forked(tenant)

    def _add(self, process: EngineProcess) -> RunningEngine:
        """Know one more engine, or find that it is known."""
        tenant, now = process.tenant, time.monotonic()
        engine = self._engines.get(tenant)
        if engine is None:
            socket = engine_socket(self._data_folder, tenant)
            engine = self._engines[tenant] = RunningEngine(process, socket, idle_s=min(_BRIEF_S, self._idle_s))
            self.memory.add(tenant, now)
            self._recency.add(tenant, now - max(0.0, time.time() - process.started_at))
        return engine

    def _is_awake(self, tenant: str) -> bool:
        return tenant in self._engines or tenant in self._forking

    async def _wake(self, tenant: str) -> Path:
        return await self.ensure(tenant, briefly=True)

    # Ending

    async def end(self, tenant: str) -> None:
        """End the tenant's engine if it runs, in order unless that takes too long. Call it with the tenant's lock held."""
        engine = self._engines.get(tenant)
        if engine is None:
            return
        engine.ending = True
        await self.link.terminate(tenant, False)
        if not await engine.has_gone(self._kill_after_s):
            _log.error("engine_killed", tenant=tenant, reason="did not end in time")
            await self.link.terminate(tenant, True)
            if not await engine.has_gone(_ENDING_WAIT_S):
                raise RemoteError(ErrorCode.UNAVAILABLE, "the engine does not come to its end", retry_after=1)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(5.0, max(0.05, self._idle_s / 4)))
            await self._hibernate_idle()

    async def _hibernate_idle(self) -> None:
        """Look at the engines that are due, and end those that nobody has asked anything for the idle time."""
        now = time.monotonic()
        for engine in [engine for engine in self._engines.values() if engine.check_idle_at <= now and not engine.ending]:
            answer = await self._ask_to_end(engine, engine.idle_s)
            if answer is None or answer.hibernating:
                engine.check_idle_at = time.monotonic() + engine.idle_s
            else:
                self._recency.used(engine.tenant, time.monotonic() - answer.idle_s)
                engine.check_idle_at = time.monotonic() + max(_IDLE_CHECK_PAUSE_S, engine.idle_s - answer.idle_s)

    async def _evict(self, ask: Ask) -> Idleness | None:
        engine = self._engines.get(ask.tenant)
        return None if engine is None else await self._ask_to_end(engine, ask.idle_s)

    async def _ask_to_end(self, engine: RunningEngine, idle_s: float) -> Idleness | None:
        """Ask an engine to end if it was idle for so long, unless somebody is about to start or end it."""
        lock = self.lock(engine.tenant)
        if lock.locked() or engine.is_going or engine.gone.is_set() or not engine.serving:
            return None
        async with lock:  # whoever needs the engine waits here for the answer
            answer = await engine.ask_to_end(idle_s)
        if answer is None:
            _log.warning("hibernation_failed", tenant=engine.tenant)
        elif answer.hibernating:
            self.hibernations += 1
            if not engine.gone.is_set():
                self.memory.leaves(engine.tenant, leaving=True)
            _log.info("engine_hibernates", tenant=engine.tenant)
        if answer is None or answer.hibernating:
            self.suspicion.suspect(engine)
        return answer

    # What the fork server tells

    async def _care(self) -> None:
        await self.link.wait_connected()  # only then is known which engines run
        await self.caretaker.run()

    def _adopt(self, processes: list[EngineProcess]) -> None:
        """Take the fork server's word for what runs."""
        running = {process.pid for process in processes}
        for engine in list(self._engines.values()):
            if engine.pid not in running:
                self._gone(engine)
        for process in processes:
            self._add(process).idle_s = self._idle_s
            if process.serving:
                self.gate.served(process.tenant)
        if processes:
            _log.info("engines_adopted", engines=len(processes))

    def _served(self, served: Served) -> None:
        # One that we don't know was forked for somebody who did not wait for the answer.
        engine = self._add(EngineProcess(served.tenant, served.pid, time.time()))
        engine.serves()
        self.crash_record.served(served.tenant)
        self.gate.served(served.tenant)
        self.queue.leave(served.tenant)

    def _exited(self, exited: Exited) -> None:
        tenant = exited.tenant
        engine = self._engines.get(tenant)
        if tenant in self._forking:
            self._forking[tenant].add(exited.pid)
        is_known = engine is not None and engine.pid == exited.pid
        if exited.status != 0 and (is_known or tenant in self._forking):
            self.crashes += 1
            _log.warning("engine_crashed", tenant=tenant, status=exited.status, served=exited.served)
            self.crash_record.crashed(tenant, time.monotonic(), served=exited.served)
        if engine is not None and is_known:
            self._gone(engine)

    def _gone(self, engine: RunningEngine) -> None:
        tenant = engine.tenant
        del self._engines[tenant]
        engine.went()
        self._recency.forget(tenant)
        self.queue.leave(tenant)
        self.room.release(tenant)
        wait_s = self.crash_record.wait_s(tenant, time.monotonic())
        self.caretaker.ended(tenant, tenant_folder(self._data_folder, tenant), not_before_s=wait_s)
