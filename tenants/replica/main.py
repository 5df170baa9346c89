"""The replicator's process. It watches: it tells what is on this node's disk, and that nothing is carried elsewhere yet."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine import log
from engine.address import listen
from engine.process import die_with_parent, stop_event
from engine.protocol import Hello, Request
from engine.service import Methods, Service
from tenants.replica.messages import ReplicaStatus
from tenants.replica.watcher import scan

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
    """Answers what is on the disk."""

    def __init__(self, settings: ReplicatorSettings) -> None:
        self._tenants_folder = settings.data_folder / "tenants"
        self._last: ReplicaStatus | None = None
        self._scanning = asyncio.Lock()

    async def status(self, request: Request) -> ReplicaStatus:
        """Return the last scan, made anew when it is old."""
        async with self._scanning:
            if self._last is None or time.time() - self._last.scanned_at > _SCAN_KEPT_S:
                self._last = await asyncio.to_thread(scan, self._tenants_folder)
            return self._last


async def serve(settings: ReplicatorSettings) -> None:
    """Serve until SIGTERM."""
    stop = stop_event(asyncio.get_running_loop())
    methods = Methods({"status": Replicator(settings).status})
    listening = listen(settings.data_folder / "run" / "replica.sock")
    async with Service(methods, listening, hello=lambda: Hello(service="replicator"), drain_s=2.0):
        await stop.wait()


def main() -> None:
    """Run the replicator in this process."""
    die_with_parent()
    log.configure("replicator")
    asyncio.run(serve(ReplicatorSettings.from_environment(os.environ)))


if __name__ == "__main__":
    main()
