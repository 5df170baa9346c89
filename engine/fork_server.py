"""The parent of all engines: one single-threaded process with everything imported, which forks on demand and reaps.

A fork copies memory, so this process must never hold a secret, and a lock held by another thread would stay locked in the
child, so it must never start a thread. It therefore has no event loop of asyncio's: ``selectors``, and frames by hand.

It answers ``fork``, ``adopt``, ``list``, ``measure``, ``terminate``, ``isolation`` and ``watch``
(``engine.protocol.processes``) on ``run/fork.sock`` to processes of root and of the user that the service runs as. Started by
root it stays root, with no more of its powers than it takes to give each engine a user of its own. When it ends, its engines
get SIGTERM, and it waits for them; when it is killed, the kernel tells them (PDEATHSIG).
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import setproctitle
import structlog

from engine import heap, log, orphans
from engine.address import listen
from engine.children import HANDLED, Children
from engine.fork_server_settings import ForkServerSettings
from engine.process import die_with_parent, raise_descriptor_limit, supervisor
from engine.protocol import ErrorCode, FrameDecoder, Hello, RemoteError, Reply, ReplyError, Request, encode_frame
from engine.protocol.framing import FrameError
from engine.protocol.processes import (
    ISOLATION_LEVELS,
    Adopt,
    Adopted,
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
from engine.sandbox import Confinement, cgroups, find_out, privileges
from engine.sandbox.users import Service, service_of
from engine.store.connection import preload
from engine.warm_up import rehearse

_log = structlog.get_logger()

_CONTROL_FRAME_BYTES_MAX = 64 * 1024
_STOP_S = 15.0
"""How long engines may drain when the fork server is told to end; then they are killed."""


_POWERS_KEPT = frozenset(
    {
        privileges.CHOWN,
        privileges.DAC_OVERRIDE,
        privileges.FOWNER,
        privileges.FSETID,
        privileges.KILL,
        privileges.SETGID,
        privileges.SETUID,
        privileges.SYS_CHROOT,
        privileges.SYS_PTRACE,  # to read how much memory an engine of another user holds
    }
)


class TooLittleIsolation(Exception):
    """This machine confines engines less than the settings ask for."""


@dataclass(eq=False)
class _Peer:
    """One connected process. Its socket is blocking for writes: answers are short and the host reads them at once."""

    connection: socket.socket
    decoder: FrameDecoder = field(default_factory=lambda: FrameDecoder(_CONTROL_FRAME_BYTES_MAX))
    watch_id: int | None = None

    def send(self, reply: Reply) -> None:
        self.connection.sendall(encode_frame(msgspec.msgpack.encode(reply)))


class ForkServer:
    """Forks and reaps engines until told to end."""

    def __init__(
        self, settings: ForkServerSettings, confinement: Confinement, isolation: Isolation, service: Service | None
    ) -> None:
        self._isolation = isolation
        self._peers_allowed = {0, os.geteuid()} | ({service.uid} if service else set())
        self._data_folder = settings.engines.data_folder
        path = self._data_folder / "run" / "fork.sock"
        self._listening = listen(path)
        if service is not None:
            os.chown(path, service.uid, service.gid, follow_symlinks=False)
        self._selector = selectors.DefaultSelector()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._peers: set[_Peer] = set()
        self._children = Children(
            settings.engines, confinement, service, self._selector, served=self._served, let_go=self._let_go
        )
        self._stop_at: float | None = None
        self._orphans_end_at: float | None = time.monotonic() + orphans.PATIENCE_S if service is not None else None
        self._methods = {
            "fork": self._fork,
            "adopt": self._adopt,
            "list": self._list,
            "terminate": self._terminate,
            "measure": self._measure,
            "isolation": self._tell_isolation,
        }

    def run(self) -> None:
        """Serve until SIGTERM, then end the engines and return."""
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        signal.set_wakeup_fd(self._wake_sender.fileno())
        for number in HANDLED:
            signal.signal(number, lambda *_: None)  # the wake-up descriptor carries the number
        self._selector.register(self._listening, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ, self._signalled)
        _log.info("fork_server_started", pid=os.getpid())
        while self._stop_at is None or (self._children and time.monotonic() < self._stop_at):
            for key, _ in self._selector.select(self._timeout()):
                key.data()
            if self._orphans_end_at is not None and time.monotonic() >= self._orphans_end_at:
                self._orphans_end_at = None
                orphans.kill(self._data_folder)
        for process in self._children.processes():
            _log.error("engine_killed", tenant=process.tenant, reason="did not end in time")
            self._children.signal(process.tenant, signal.SIGKILL)
        _log.info("fork_server_stopped")

    def _timeout(self) -> float | None:
        times = [at for at in (self._stop_at, self._orphans_end_at) if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _signalled(self) -> None:
        for number in self._wake_receiver.recv(4096):
            if number == signal.SIGCHLD:
                for exited in self._children.reap():
                    self._tell_watchers(exited)
            elif self._stop_at is None:
                self._stop_at = time.monotonic() + _STOP_S
                for process in self._children.processes():
                    self._children.signal(process.tenant, signal.SIGTERM)

    def _let_go(self) -> None:
        """In a child: close what is the fork server's."""
        self._selector.close()
        for open_socket in (self._listening, self._wake_receiver, self._wake_sender):
            open_socket.close()
        for peer in self._peers:
            peer.connection.close()

    def _served(self, process: EngineProcess) -> None:
        self._tell_watchers(Served(process.tenant, process.pid))

    def _tell_watchers(self, event: Served | Exited) -> None:
        for peer in [peer for peer in self._peers if peer.watch_id is not None]:
            self._send(peer, Reply(id=peer.watch_id or 0, chunk=msgspec.Raw(msgspec.msgpack.encode(event))))

    # Peers

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except OSError:
            return
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", credentials)
        if uid not in self._peers_allowed:
            _log.warning("peer_refused", uid=uid)
            connection.close()
            return
        connection.settimeout(5.0)
        peer = _Peer(connection)
        self._peers.add(peer)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._receive(peer))
        self._send(peer, Reply(hello=Hello(service="fork_server")))

    def _receive(self, peer: _Peer) -> None:
        try:
            data = peer.connection.recv(65536)
            if not data:
                raise ConnectionError("closed")
            for frame in peer.decoder.feed(data):
                self._answer(peer, msgspec.msgpack.decode(frame, type=Request))
        except (OSError, FrameError, ValueError, RecursionError):
            self._drop(peer)

    def _answer(self, peer: _Peer, request: Request) -> None:
        if request.method == "watch":
            peer.watch_id = request.id
            return
        try:
            method = self._methods.get(request.method)
            if method is None:
                raise RemoteError(ErrorCode.UNKNOWN_METHOD, f"there is no method {request.method!r}")
            if self._stop_at is not None:
                raise RemoteError(ErrorCode.DRAINING, "the fork server is ending")
            reply = Reply(id=request.id, result=msgspec.Raw(msgspec.msgpack.encode(method(request.params))))
        except RemoteError as error:
            reply = Reply(id=request.id, error=ReplyError(str(error.code), error.message, error.details))
        except msgspec.ValidationError as error:
            reply = Reply(id=request.id, error=ReplyError(str(ErrorCode.INVALID), str(error)))
        self._send(peer, reply)

    def _send(self, peer: _Peer, reply: Reply) -> None:
        try:
            peer.send(reply)
        except OSError:
            self._drop(peer)

    def _drop(self, peer: _Peer) -> None:
        if peer in self._peers:
            self._peers.remove(peer)
            self._selector.unregister(peer.connection)
            peer.connection.close()

    # Methods

    def _fork(self, raw: msgspec.Raw) -> EngineProcess:
        arguments = msgspec.msgpack.decode(raw, type=Fork)
        return self._children.fork(arguments.tenant, rebase=arguments.rebase)

    def _adopt(self, raw: msgspec.Raw) -> Adopted:
        self._children.adopt(msgspec.msgpack.decode(raw, type=Adopt))
        return Adopted()

    def _list(self, raw: msgspec.Raw) -> EngineProcesses:
        return EngineProcesses(self._children.processes())

    def _measure(self, raw: msgspec.Raw) -> Measured:
        return Measured(self._children.measure(msgspec.msgpack.decode(raw, type=Measure).tenants))

    def _tell_isolation(self, raw: msgspec.Raw) -> Isolation:
        return self._isolation

    def _terminate(self, raw: msgspec.Raw) -> Signalled:
        arguments = msgspec.msgpack.decode(raw, type=Signal)
        return Signalled(self._children.signal(arguments.tenant, signal.SIGKILL if arguments.force else signal.SIGTERM))


def _check_single_threaded() -> None:
    """Refuse to go on with a second thread: NumPy, which engines scan codes with, brings some unless it is told not to."""
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        raise RuntimeError(f"there are {threads} threads before the first fork: OPENBLAS_NUM_THREADS must be 1")


def serve(environment: Mapping[str, str]) -> None:
    """Run the fork server in this process."""
    settings = ForkServerSettings.from_environment(environment)
    die_with_parent(supervisor(environment))
    log.configure("fork_server")
    setproctitle.setproctitle("engram fork-server")
    raise_descriptor_limit()
    preload()
    _check_single_threaded()
    service = service_of(settings.user)
    confinement, isolation = find_out(own_users=service is not None)
    _log.info("isolation", level=isolation.level, missing={layer: why for layer, why in isolation.layers.items() if why})
    if ISOLATION_LEVELS.index(isolation.level) < ISOLATION_LEVELS.index(settings.isolation_min):
        raise TooLittleIsolation(f"engines would be confined at level {isolation.level}, not {settings.isolation_min}")
    isolation.layers |= cgroups.enter(settings.engines.data_folder, memory_bytes_max=settings.engines_memory_hard_bytes)
    if service is not None:
        privileges.empty_bounding_set()
        privileges.keep_only(_POWERS_KEPT)
    rehearse()
    _check_single_threaded()
    os.environ.clear()  # engines have none; each would otherwise write to pages of its own to empty it
    heap.settle()
    try:
        ForkServer(settings, confinement, isolation, service).run()
    finally:
        cgroups.leave(settings.engines.data_folder)


if __name__ == "__main__":
    serve(os.environ)
