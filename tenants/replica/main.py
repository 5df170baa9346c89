"""The replicator's process. It watches: it tells what is on this node's disk, and that nothing is carried elsewhere yet."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from engine import log
from engine.address import listen
from engine.process import die_with_parent, raise_descriptor_limit, stop_event, supervisor
from engine.protocol import Hello, Request
from engine.service import Methods, Service
from tenants.messages.replica import ReplicaStatus
from tenants.replica.watcher import Watcher

_log = structlog.get_logger()

_SCAN_KEPT_S = 10.0
"""A scan reads every folder of the node, so it is not made anew for every question."""


@dataclass(frozen=True, kw_only=True)
class ReplicatorSettings:
    """What the replicator needs to know."""

    data_folder: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ReplicatorSettings:
        """Read ``ENGRAM_DATA_DIR``."""
        return cls(data_folder=Path(environment.get("ENGRAM_DATA_DIR", "var")).resolve())


class Replicator:
    """Answers what is on the disk. Call ``run`` in a task."""

    def __init__(self, settings: ReplicatorSettings) -> None:
        self._watcher = Watcher(settings.data_folder / "tenants")
        self._last: ReplicaStatus | None = None
        self._asked = asyncio.Event()
        self._scanned = asyncio.Event()

    async def run(self) -> None:
        """Scan when somebody asks and the last scan is old, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                self._last = await asyncio.to_thread(self._watcher.scan)
            except Exception:
                _log.exception("scan_failed")  # whoever asks next has it tried again
            else:
                self._scanned.set()

    async def status(self, request: Request) -> ReplicaStatus:
        """Return the last scan, and have a new one made when it is old: nobody waits for it but the first."""
        if self._last is None or not 0 <= time.time() - self._last.scanned_at <= _SCAN_KEPT_S:  # the clock may be set back
            self._asked.set()
        await self._scanned.wait()
        assert self._last is not None
        return self._last


async def serve(settings: ReplicatorSettings) -> None:
    """Serve until SIGTERM."""
    stop = stop_event(asyncio.get_running_loop())
    replicator = Replicator(settings)
    methods = Methods({"status": replicator.status})
    listening = listen(settings.data_folder / "run" / "replica.sock")
    async with (
        asyncio.TaskGroup() as tasks,
        Service(methods, listening, hello=lambda: Hello(service="replicator"), drain_s=2.0),
    ):
        scanning = tasks.create_task(replicator.run())
        await stop.wait()
        scanning.cancel()


def main() -> None:
    """Run the replicator in this process."""
    die_with_parent(supervisor(os.environ))
    raise_descriptor_limit()
    log.configure("replicator")
    asyncio.run(serve(ReplicatorSettings.from_environment(os.environ)))


if __name__ == "__main__":
    main()
