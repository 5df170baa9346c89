"""The host's process: answers on ``run/host.sock`` (``tenants.messages.host``) and minds the engines.

Start: line to the replicator, socket, then the pool's loops: line to the fork server, memory, suspects, idle sweep, caretaker.
Stop, in the reverse order: the engines are the fork server's and go on; a host that starts again adopts them.
"""

from __future__ import annotations

import asyncio
import os

import msgspec

from engine import log
from engine.address import listen
from engine.link import Link
from engine.process import die_with_parent, stop_event, supervisor
from engine.protocol import Hello, Request
from engine.protocol.limits import DEADLINE_MAX_MS
from engine.service import Methods, Service
from tenants.host.ballast import Ballast
from tenants.host.handover import Handover
from tenants.host.pool import Pool
from tenants.host.settings import HostSettings
from tenants.messages.host import (
    Ensure,
    Ensured,
    Held,
    Hold,
    HostStatus,
    Lend,
    Lent,
    Release,
    Replace,
    Replaced,
    Suspect,
    Suspected,
)


def methods_of(pool: Pool, handover: Handover, ballast: Ballast) -> Methods:
    """Return what the host answers."""

    async def ensure(request: Request) -> Ensured:
        arguments = msgspec.msgpack.decode(request.params, type=Ensure)
        return Ensured(str(await pool.ensure(arguments.tenant, briefly=arguments.briefly)))

    async def suspect(request: Request) -> Suspected:
        arguments = msgspec.msgpack.decode(request.params, type=Suspect)
        pool.suspect(arguments.tenant, busy_s=min(max(arguments.busy_ms, 0), DEADLINE_MAX_MS) / 1000)
        return Suspected()

    async def replace(request: Request) -> Replaced:
        arguments = msgspec.msgpack.decode(request.params, type=Replace)
        return await handover.replace(arguments.tenant, arguments.staged)

    async def lend(request: Request) -> Lent:
        arguments = msgspec.msgpack.decode(request.params, type=Lend)
        await handover.lend(arguments.tenant, arguments.staged)
        return Lent()

    async def hold(request: Request) -> Held:
        arguments = msgspec.msgpack.decode(request.params, type=Hold)
        await handover.hold(arguments.tenant, arguments.reason)
        return Held()

    async def release(request: Request) -> Held:
        handover.release(msgspec.msgpack.decode(request.params, type=Release).tenant)
        return Held()

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
            held=pool.gate.held,
            disk=ballast.state,
            isolation=pool.link.isolation,
        )

    answers = (ensure, suspect, replace, lend, hold, release, status)
    return Methods({answer.__name__: answer for answer in answers})


async def serve(settings: HostSettings) -> None:
    """Serve until SIGTERM."""
    stop = stop_event(asyncio.get_running_loop())
    run_folder = settings.data_folder / "run"
    ballast = Ballast(settings.data_folder, reserve_bytes=settings.disk_reserve_bytes)
    async with Link(run_folder / "replica.sock") as replica:
        pool = Pool(
            settings.data_folder,
            idle_s=settings.idle_s,
            memory_bytes_max=settings.memory_bytes_max,
            replica=replica if settings.gated else None,
        )
        methods = methods_of(pool, Handover(pool, settings.data_folder), ballast)
        listening = listen(run_folder / "host.sock")
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
