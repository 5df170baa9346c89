"""The host's line to the fork server: commands on one connection, news of exits on another, reconnected for ever.

A lost line means a dead fork server, and with it its engines: they end with their parent. After each new connection the
fork server's list is the truth. A fork server that does not answer in time is hung up on, and asked anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import structlog

from engine.client import Client
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.processes import (
    Adopt,
    Adopted,
    EngineMemory,
    EngineProcess,
    EngineProcesses,
    Exited,
    Fork,
    Isolation,
    Measure,
    Measured,
    Served,
    Signal,
    Signalled,
)

_log = structlog.get_logger()

T = TypeVar("T")

_RETRY_S = 0.1
_CONNECTED_WAIT_S = 5.0

_COMMAND_MS = 4_000
"""Forking takes 10 ms, and measuring as many engines as we ever ask for as long."""


class ForkLink:
    """Call ``run`` in a task; the rest may be called from any other."""

    def __init__(
        self,
        path: Path,
        *,
        adopt: Callable[[list[EngineProcess]], None],
        served: Callable[[Served], None],
        exited: Callable[[Exited], None],
    ) -> None:
        """``adopt`` takes the list of what runs; ``served`` and ``exited`` the news after it."""
        self._path = path
        self._adopt = adopt
        self._served = served
        self._exited = exited
        self._news: Client | None = None
        self._commands: Client | None = None
        self._connected = asyncio.Event()
        self.isolation: Isolation | None = None
        """What confines the engines, as the fork server has said last."""

    @property
    def connected(self) -> bool:
        """Whether commands can be sent now."""
        return self._connected.is_set()

    async def wait_connected(self) -> None:
        """Return once the fork server has told what runs."""
        await self._connected.wait()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            try:
                await self._stay_connected()
            except RemoteError as error:
                if self.connected:  # otherwise it has been said
                    _log.warning("fork_server_lost", error=str(error))
            finally:
                self._connected.clear()
                self._commands = None
            await asyncio.sleep(_RETRY_S)

    async def fork(self, tenant: str, rebase: int | None = None) -> EngineProcess:
        """Start an engine, or find it running. ``rebase``: after which transaction its history goes on, if not its own last."""
        return await self._call("fork", Fork(tenant, rebase), EngineProcess)

    async def adopt(self, tenant: str, staged: str, *, preview: bool = False) -> None:
        """Move a staged database into the tenant's folder, for its engine to take in at its next start, or to compare."""
        await self._call("adopt", Adopt(tenant, staged, preview), Adopted)

    async def terminate(self, tenant: str, force: bool) -> None:
        """Have an engine end, in order or by force; harmless when there is none."""
        await self._call("terminate", Signal(tenant, force), Signalled)

    async def measure(self, tenants: list[str]) -> list[EngineMemory]:
        """Return how much memory these engines hold, as far as they run."""
        return (await self._call("measure", Measure(tenants), Measured)).engines

    def _heard(self, event: Served | Exited) -> None:
        if isinstance(event, Exited):
            self._exited(event)
        else:
            self._served(event)

    async def _call(self, method: str, arguments: Any, result_type: type[T]) -> T:
        try:
            async with asyncio.timeout(_CONNECTED_WAIT_S):
                await self._connected.wait()
        except TimeoutError:
            raise RemoteError(ErrorCode.UNAVAILABLE, "the fork server is not running", retry_after=1) from None
        commands = self._commands
        assert commands is not None
        try:
            return await commands.call(method, arguments, result_type=result_type, deadline_ms=_COMMAND_MS)
        except RemoteError:
            if self._news is not None and not commands.usable:
                self._news.abort()  # and so both lines are made anew
            raise

    async def _stay_connected(self) -> None:
        async with (
            await Client.connect(self._path) as news,
            await Client.connect(self._path) as commands,
        ):
            # The watch is asked for before the list, so that no exit falls between the two.
            events: Any = Served | Exited
            exits = news.stream("watch", chunk_type=events, deadline_ms=None)
            first = asyncio.ensure_future(anext(exits))
            await asyncio.sleep(0)
            try:
                self.isolation = await commands.call("isolation", result_type=Isolation)
                self._adopt((await commands.call("list", result_type=EngineProcesses)).engines)
                self._news, self._commands = news, commands
                self._connected.set()
                self._heard(await first)
                async for event in exits:
                    self._heard(event)
            finally:
                first.cancel()
                with contextlib.suppress(asyncio.CancelledError, RemoteError, StopAsyncIteration):
                    await first
                await exits.aclose()
