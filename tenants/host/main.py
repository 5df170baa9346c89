"""The host's process: answers ``ensure`` and ``status`` on ``run/host.sock`` and puts idle engines to sleep.

Start: socket, line to the fork server, idle sweep, caretaker. Stop, in the reverse order: the engines are the fork server's
and go on; a host that starts again adopts them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine import log
from engine.address import listen
from engine.process import die_with_parent, stop_event
from engine.protocol import Hello, Request
from engine.service import Methods, Service
from tenants.host.messages import Ensure, Ensured, HostStatus
from tenants.host.pool import Pool


@dataclass(frozen=True, kw_only=True)
class HostSettings:
    """What the host needs to know."""

    data_folder: Path
    idle_s: float

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> HostSettings:
        """Read ``ENGRAM_DATA_DIR`` and ``ENGRAM_ENGINE_IDLE_SECONDS`` (300)."""
        return cls(
            data_folder=Path(environment.get("ENGRAM_DATA_DIR", "var")).resolve(),
            idle_s=float(environment.get("ENGRAM_ENGINE_IDLE_SECONDS", "300")),
        )


async def serve(settings: HostSettings) -> None:
    """Serve until SIGTERM."""
    stop = stop_event(asyncio.get_running_loop())
    pool = Pool(settings.data_folder, idle_s=settings.idle_s)

    async def ensure(request: Request) -> Ensured:
        arguments = msgspec.msgpack.decode(request.params, type=Ensure)
        return Ensured(str(await pool.ensure(arguments.tenant, briefly=arguments.briefly)))

    async def status(request: Request) -> HostStatus:
        return HostStatus(
            fork_server=pool.link.connected,
            engines=pool.size,
            starts_total=pool.starts,
            hibernations_total=pool.hibernations,
            crashes_total=pool.crashes,
            wakings_total=pool.caretaker.wakings,
            quarantined=pool.caretaker.set_aside,
        )

    methods = Methods({"ensure": ensure, "status": status})
    listening = listen(settings.data_folder / "run" / "host.sock")
    async with (
        asyncio.TaskGroup() as tasks,
        Service(methods, listening, hello=lambda: Hello(service="host"), drain_s=2.0),
    ):
        loops = [tasks.create_task(loop) for loop in (pool.link.run(), _sweep(pool, settings.idle_s), _care(pool))]
        await stop.wait()
        for loop in loops:
            loop.cancel()


async def _sweep(pool: Pool, idle_s: float) -> None:
    while True:
        await asyncio.sleep(min(5.0, max(0.05, idle_s / 4)))
        await pool.hibernate_idle()


async def _care(pool: Pool) -> None:
    await pool.link.wait_connected()  # only then is known which engines run
    await pool.caretaker.run()


def main() -> None:
    """Run the host in this process."""
    die_with_parent()
    log.configure("host")
    asyncio.run(serve(HostSettings.from_environment(os.environ)))


if __name__ == "__main__":
    main()
