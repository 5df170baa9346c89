"""The host's process: answers ``ensure``, ``suspect`` and ``status`` on ``run/host.sock`` and minds the engines.

Start: socket, then the pool's loops: line to the fork server, memory, suspects, idle sweep, caretaker. Stop, in the reverse
order: the engines are the fork server's and go on; a host that starts again adopts them.
"""

from __future__ import annotations

import asyncio
import os

import msgspec

from engine import log
from engine.address import listen
from engine.process import die_with_parent, stop_event, supervisor
from engine.protocol import Hello, Request
from engine.protocol.limits import DEADLINE_MAX_MS
from engine.service import Methods, Service
from tenants.host.ballast import Ballast
from tenants.host.pool import Pool
from tenants.host.settings import HostSettings
from tenants.messages.host import Ensure, Ensured, HostStatus, Suspect, Suspected


async def serve(settings: HostSettings) -> None:
    """Serve until SIGTERM."""
    stop = stop_event(asyncio.get_running_loop())
    ballast = Ballast(settings.data_folder, reserve_bytes=settings.disk_reserve_bytes)
    pool = Pool(settings.data_folder, idle_s=settings.idle_s, memory_bytes_max=settings.memory_bytes_max)

    async def ensure(request: Request) -> Ensured:
        arguments = msgspec.msgpack.decode(request.params, type=Ensure)
        return Ensured(str(await pool.ensure(arguments.tenant, briefly=arguments.briefly)))

    async def suspect(request: Request) -> Suspected:
        arguments = msgspec.msgpack.decode(request.params, type=Suspect)
        pool.suspect(arguments.tenant, busy_s=min(max(arguments.busy_ms, 0), DEADLINE_MAX_MS) / 1000)
        return Suspected()

    async def status(request: Request) -> HostStatus:
        return HostStatus(
            fork_server=pool.link.connected,
            engines=pool.size,
            starts_total=pool.starts,
            hibernations_total=pool.hibernations,
            crashes_total=pool.crashes,
            wakings_total=pool.caretaker.wakings,
            quarantined=pool.caretaker.set_aside,
            starts_waiting=pool.queue.waiting,
            starts_refused_total=pool.queue.refused + pool.room.refused,
            evictions_total=pool.room.evictions,
            hung_total=pool.suspicion.hung,
            memory_bytes=pool.memory.held_bytes,
            memory_bytes_max=pool.memory.bytes_max,
            disk=ballast.state,
            isolation=pool.link.isolation,
        )

    methods = Methods({"ensure": ensure, "suspect": suspect, "status": status})
    listening = listen(settings.data_folder / "run" / "host.sock")
    async with (
        asyncio.TaskGroup() as tasks,
        Service(methods, listening, hello=lambda: Hello(service="host"), drain_s=2.0),
    ):
        loops = [tasks.create_task(loop) for loop in (*pool.loops(), ballast.run())]
        await stop.wait()
        for loop in loops:
            loop.cancel()


def main() -> None:
    """Run the host in this process."""
    die_with_parent(supervisor(os.environ))
    log.configure("host")
    asyncio.run(serve(HostSettings.from_environment(os.environ)))


if __name__ == "__main__":
    main()
