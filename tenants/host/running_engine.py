"""One running engine as the host knows it, and the one question that the host asks of engines: whether they would end."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from pathlib import Path

from engine.catalogue.lifecycle import HIBERNATE, Hibernate, Idleness
from engine.client import Client
from engine.protocol import RemoteError
from engine.protocol.processes import EngineProcess

_GREETED_S = 1.0
_ANSWER_MS = 1000
"""Idle engines answer within milliseconds. One that is busy is not meant, and holds up those who are asked after it."""


class RunningEngine:
    """What the fork server told of it, and what has become known since."""

    def __init__(self, process: EngineProcess, socket: Path, *, idle_s: float) -> None:
        self.tenant = process.tenant
        self.pid = process.pid
        self.serving = process.serving
        """Whether it answers requests; before, it may be migrating."""
        self.started = asyncio.Event()
        """Set once it serves, or has gone without."""
        if self.serving:
            self.started.set()
        self.socket = socket
        self.idle_s = idle_s
        """How long it may be idle."""
        self.check_idle_at = time.monotonic() + idle_s
        """``time.monotonic`` of the next look at its idle time."""
        self.ending = False
        """Whether it has said that it ends, or was told to."""
        self.gone = asyncio.Event()
        self._being_asked = False

    def serves(self) -> None:
        """Note that it answers requests."""
        self.serving = True
        self.started.set()

    def went(self) -> None:
        """Note that it has ended."""
        self.gone.set()
        self.started.set()

    async def has_gone(self, wait_s: float) -> bool:
        """Wait for its end; whether it has come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self.gone.wait()
        return self.gone.is_set()

    @property
    def is_going(self) -> bool:
        """Whether it ends, or may be about to: it is being asked. Who needs it waits until that is known."""
        return self.ending or self._being_asked

    async def ask_to_end(self, idle_s: float) -> Idleness | None:
        """Ask it to end if it has been idle for this long; ``None`` if it gives no answer that makes sense."""
        try:
            async with await Client.connect(self.socket, timeout_s=_GREETED_S) as client:
                self._being_asked = True
                answer = await client.call(
                    HIBERNATE.name, Hibernate(idle_s=idle_s), result_type=HIBERNATE.result, deadline_ms=_ANSWER_MS
                )
        except RemoteError:
            return None
        else:
            self.ending = self.ending or answer.hibernating
            # An engine may say what it likes.
            return answer if answer.hibernating or 0 <= answer.idle_s < math.inf else None
        finally:
            self._being_asked = False
