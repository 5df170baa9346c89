"""The parent of all engines: one single-threaded process with everything imported, which forks on demand and reaps.

A fork copies memory, so this process must never hold a secret, and a lock held by another thread would stay locked in the
child, so it must never start a thread. It therefore has no event loop of asyncio's: ``selectors``, and frames by hand.

It answers ``fork``, ``list``, ``terminate`` and ``watch`` (``engine.protocol.processes``) on ``run/fork.sock`` to processes of
its own user and of root. When it ends, its engines get SIGTERM, and it waits for them; when it is killed, the kernel tells
them (PDEATHSIG).
"""

from __future__ import annotations

import gc
import os
import re
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import setproctitle
import structlog

from engine import log, main
from engine.address import listen
from engine.process import die_with_parent, raise_descriptor_limit
from engine.protocol import ErrorCode, FrameDecoder, Hello, RemoteError, Reply, ReplyError, Request, encode_frame
from engine.protocol.errors import invalid
from engine.protocol.framing import FrameError
from engine.protocol.processes import EngineProcess, EngineProcesses, Exited, Fork, Signal, Signalled
from engine.store.connection import preload

_log = structlog.get_logger()

_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_TENANT = re.compile(r"[a-z0-9_]{1,64}")
_CONTROL_FRAME_BYTES_MAX = 64 * 1024
_STOP_S = 15.0
"""How long engines may drain when the fork server is told to end; then they are killed."""


@dataclass(frozen=True, kw_only=True)
class ForkServerSettings:
    """Where the control socket and the engines' sockets are."""

    run_folder: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ForkServerSettings:
        """Read ``ENGRAM_DATA_DIR``."""
        return cls(run_folder=Path(environment.get("ENGRAM_DATA_DIR", "var")).resolve() / "run")


@dataclass(eq=False)
class _Peer:
    """One connected process. Its socket is blocking for writes: answers are short and the host reads them at once."""

    connection: socket.socket
    decoder: FrameDecoder = field(default_factory=lambda: FrameDecoder(_CONTROL_FRAME_BYTES_MAX))
    watch_id: int | None = None

    def send(self, reply: Reply) -> None:
        self.connection.sendall(encode_frame(msgspec.msgpack.encode(reply)))


@dataclass
class _Engine:
    process: EngineProcess
    socket_path: Path
    serving: int
    """The pipe into which the engine writes a byte when it answers requests."""


class ForkServer:
    """Forks and reaps engines until told to end."""

    def __init__(self, settings: ForkServerSettings) -> None:
        self._sockets = settings.run_folder / "engines"
        self._listening = listen(settings.run_folder / "fork.sock")
        self._selector = selectors.DefaultSelector()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._peers: set[_Peer] = set()
        self._engines: dict[str, _Engine] = {}
        self._stop_at: float | None = None
        self._methods = {"fork": self._fork, "list": self._list, "terminate": self._terminate}

    def run(self) -> None:
        """Serve until SIGTERM, then end the engines and return."""
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        signal.set_wakeup_fd(self._wake_sender.fileno())
        for number in _HANDLED:
            signal.signal(number, lambda *_: None)  # the wake-up descriptor carries the number
        self._selector.register(self._listening, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ, self._signalled)
        _log.info("fork_server_started", pid=os.getpid())
        while self._stop_at is None or (self._engines and time.monotonic() < self._stop_at):
            timeout = None if self._stop_at is None else max(0.0, self._stop_at - time.monotonic())
            for key, _ in self._selector.select(timeout):
                key.data()
        for engine in self._engines.values():
            _log.error("engine_killed", tenant=engine.process.tenant, reason="did not end in time")
            os.kill(engine.process.pid, signal.SIGKILL)
        _log.info("fork_server_stopped")

    # Signals

    def _signalled(self) -> None:
        for number in self._wake_receiver.recv(4096):
            if number == signal.SIGCHLD:
                self._reap()
            elif self._stop_at is None:
                self._stop_at = time.monotonic() + _STOP_S
                for engine in self._engines.values():
                    os.kill(engine.process.pid, signal.SIGTERM)

    def _reap(self) -> None:
        while True:
            try:
                pid, raw_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            tenant = next((name for name, engine in self._engines.items() if engine.process.pid == pid), None)
            if tenant is None:
                continue
            engine = self._engines.pop(tenant)
            engine.socket_path.unlink(missing_ok=True)
            status = os.waitstatus_to_exitcode(raw_status)
            served = os.read(engine.serving, 1) != b""
            os.close(engine.serving)
            _log.info("engine_exited", tenant=tenant, pid=pid, status=status)
            self._tell_watchers(Exited(tenant, pid, status, served))

    def _tell_watchers(self, exited: Exited) -> None:
        for peer in [peer for peer in self._peers if peer.watch_id is not None]:
            self._send(peer, Reply(id=peer.watch_id or 0, chunk=msgspec.Raw(msgspec.msgpack.encode(exited))))

    # Peers

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except OSError:
            return
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", credentials)
        if uid not in (0, os.geteuid()):
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
        except (OSError, FrameError, msgspec.DecodeError):
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
        if not _TENANT.fullmatch(arguments.tenant):
            raise invalid("tenant", "not a tenant's name")
        if (running := self._engines.get(arguments.tenant)) is not None:
            return running.process
        path = self._sockets / f"{arguments.tenant}.sock"
        parent = os.getpid()
        serving_read = serving_write = pid = -1
        try:
            listening = listen(path)
            serving_read, serving_write = os.pipe()
            # A signal to a child that still has our wake-up pipe would be taken for one to us.
            signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
            pid = os.fork()
        except OSError as error:
            _log.exception("fork_failed", tenant=arguments.tenant)
            for descriptor in (serving_read, serving_write):
                if descriptor >= 0:
                    os.close(descriptor)
            raise RemoteError(ErrorCode.UNAVAILABLE, "the engine could not be started") from error
        finally:
            if pid != 0:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
        if pid == 0:
            os.close(serving_read)
            settings = main.EngineSettings(tenant=arguments.tenant, folder=Path(arguments.folder), parent=parent)
            self._become_engine(settings, listening, serving_write)
        listening.close()
        os.close(serving_write)
        process = EngineProcess(arguments.tenant, pid, time.time())
        self._engines[arguments.tenant] = _Engine(process, path, serving_read)
        return process

    def _list(self, raw: msgspec.Raw) -> EngineProcesses:
        return EngineProcesses([engine.process for engine in self._engines.values()])

    def _terminate(self, raw: msgspec.Raw) -> Signalled:
        arguments = msgspec.msgpack.decode(raw, type=Signal)
        engine = self._engines.get(arguments.tenant)
        if engine is not None:
            os.kill(engine.process.pid, signal.SIGKILL if arguments.force else signal.SIGTERM)
        return Signalled(engine is not None)

    # The child

    def _become_engine(self, settings: main.EngineSettings, listening: socket.socket, serving: int) -> None:
        """Drop everything of the fork server's and serve one tenant. Never returns."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _HANDLED:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
            # Closed through their objects: a descriptor closed behind an object's back would be closed again by its
            # finalizer, when the number may long belong to the database.
            self._selector.close()
            for open_socket in (self._listening, self._wake_receiver, self._wake_sender):
                open_socket.close()
            for peer in self._peers:
                peer.connection.close()
            for engine in self._engines.values():
                os.close(engine.serving)
            os.environ.clear()
            os.chdir(settings.folder)
            setproctitle.setproctitle(f"engram engine {settings.tenant}")
            main.run(settings, listening, serving=lambda: _tell(serving))
            status = 0
        except BaseException as error:
            _log.error("engine_failed", tenant=settings.tenant, error=type(error).__name__, exc_info=error)
        finally:
            sys.stdout.flush()
            os._exit(status)


def _tell(serving: int) -> None:
    """Write the byte that says that the engine answers requests."""
    os.write(serving, b"1")
    os.close(serving)


def serve(environment: Mapping[str, str]) -> None:
    """Run the fork server in this process."""
    settings = ForkServerSettings.from_environment(environment)
    die_with_parent()
    log.configure("fork_server")
    setproctitle.setproctitle("engram fork-server")
    raise_descriptor_limit()
    preload()
    gc.collect()
    gc.freeze()  # what every engine shares is never touched by its collector, so its pages stay shared
    ForkServer(settings).run()


if __name__ == "__main__":
    serve(os.environ)
