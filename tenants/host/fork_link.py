"""The host's line to the fork server: commands on one connection, news of exits on another, reconnected for ever.

A lost line means a dead fork server, and with it its engines: they end with their parent. After each new connection the
fork server's list is the truth.
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
from engine.protocol.limits import DEADLINE_MAX_MS
from engine.protocol.processes import EngineProcess, EngineProcesses, Exited, Fork, Served

_log = structlog.get_logger()

T = TypeVar("T")

_RETRY_S = 0.1
_CONNECTED_WAIT_S = 5.0


class ForkLink:
    """Call ``run`` in a task; the rest may be called from any other."""

    def __init__(self, path: Path, *, adopt: Callable[[list[EngineProcess]], None], exited: Callable[[Exited], None]) -> None:
        self._path = path
        self._adopt = adopt
        self._exited = exited
        self._commands: Client | None = None
        self._connected = asyncio.Event()

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
                _log.warning("fork_server_lost", error=str(error))
            finally:
                self._connected.clear()
                self._commands = None
            await asyncio.sleep(_RETRY_S)

    async def fork(self, tenant: str) -> EngineProcess:
        """Start an engine, or find it running."""
        return await self._call("fork", Fork(tenant), EngineProcess)

    def _heard(self, event: Served | Exited) -> None:
        if isinstance(event, Exited):
            self._exited(event)

    async def _call(self, method: str, arguments: Any, result_type: type[T]) -> T:
        try:
            async with asyncio.timeout(_CONNECTED_WAIT_S):
                await self._connected.wait()
        except TimeoutError:
            raise RemoteError(ErrorCode.UNAVAILABLE, "the fork server is not running", retry_after=1) from None
        assert self._commands is not None
        return await self._commands.call(method, arguments, result_type=result_type)

    async def _stay_connected(self) -> None:
        async with (
            await Client.connect(self._path) as news,
            await Client.connect(self._path) as commands,
        ):
            # The watch is asked for before the list, so that no exit falls between the two.
            events: Any = Served | Exited
            exits = news.stream("watch", chunk_type=events, deadline_ms=DEADLINE_MAX_MS)
            first = asyncio.ensure_future(anext(exits))
            await asyncio.sleep(0)
            try:
                self._adopt((await commands.call("list", result_type=EngineProcesses)).engines)
                self._commands = commands
                self._connected.set()
                self._heard(await first)
                async for event in exits:
                    self._heard(event)
            finally:
                first.cancel()
                with contextlib.suppress(asyncio.CancelledError, RemoteError, StopAsyncIteration):
                    await first
                await exits.aclose()
