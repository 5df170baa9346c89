"""Engines as child processes: forked, confined, listed, heard, signalled, reaped. Belongs to the fork server's one thread."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import setproctitle
import structlog

from engine import main
from engine.address import listen
from engine.layout import engine_socket
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.processes import Adopt, EngineMemory, EngineProcess, Exited
from engine.sandbox import Confinement
from engine.sandbox.adoption import adopt
from engine.sandbox.users import UMASK, Folders, Service
from engine.voices import Voice

_log = structlog.get_logger()

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
"""The signals that the fork server handles and a child must not inherit handled."""


@dataclass
class _Child:
    process: EngineProcess
    socket_path: Path
    serving: int | None
    """The pipe into which the engine writes a byte when it answers requests; ``None`` once that is known."""
    voice: Voice


class Children:
    """All engines of this node."""

    def __init__(
        self,
        settings: main.EnginesSettings,
        confinement: Confinement,
        service: Service | None,
        selector: selectors.BaseSelector,
        *,
        served: Callable[[EngineProcess], None],
        let_go: Callable[[], None],
    ) -> None:
        """``service``: who may use the engines' sockets, ``None`` when engines have no users of their own.

        ``served`` is told of engines that answer requests; ``let_go`` closes, in a child, what belongs to the parent. Pipes are
        registered in ``selector`` with a callable as their data.
        """
        self._settings = settings
        self._confinement = confinement
        self._service = service
        self._folders = Folders(settings.data_folder, service)
        self._selector = selector
        self._served = served
        self._let_go = let_go
        self._children: dict[str, _Child] = {}

    def __len__(self) -> int:
        return len(self._children)

    def processes(self) -> list[EngineProcess]:
        """Return what runs."""
        return [child.process for child in self._children.values()]

    def signal(self, tenant: str, number: int) -> bool:
        """Send a signal to one engine; whether there was one."""
        child = self._children.get(tenant)
        if child is not None:
            os.kill(child.process.pid, number)  # it is ours and not reaped, so the number is still its own
        return child is not None

    def measure(self, tenants: list[str]) -> list[EngineMemory]:
        """Return how much memory each of these engines holds for itself, as far as they run."""
        running = [self._children[tenant].process for tenant in tenants if tenant in self._children]
        measured = [(process.tenant, _private_bytes(process.pid)) for process in running]
        return [EngineMemory(tenant, private) for tenant, private in measured if private is not None]

    def adopt(self, arguments: Adopt) -> None:
        """Give a tenant's engine a staged database, to be taken in at its next start or compared with its own.

        ``unavailable`` while it runs, unless it is to compare, and when the files are not what they should be.
        """
        if arguments.tenant in self._children and not arguments.preview:
            raise RemoteError(ErrorCode.UNAVAILABLE, "the engine runs", retry_after=1)
        try:
            adopt(self._settings.data_folder, self._service, self._folders, arguments)
        except OSError as error:
            _log.exception("adoption_failed", tenant=arguments.tenant)
            message = "the restored database could not be moved to its engine"
            raise RemoteError(ErrorCode.UNAVAILABLE, message, retry_after=1) from error

    def fork(self, tenant: str, *, rebase: int | None = None) -> EngineProcess:
        """Start the engine of one tenant, or return the one that runs; ``unavailable`` when the machine can't.

        ``rebase``: after which transaction its history goes on anew, if it does.
        """
        if (running := self._children.get(tenant)) is not None:
            return running.process
        path = engine_socket(self._settings.data_folder, tenant)
        pipes: list[int] = []
        try:
            settings = main.EngineSettings(tenant, self._folders.prepare(tenant), os.getpid(), self._settings, rebase)
            with listen(path) as listening:
                if self._service is not None:
                    os.chown(path, self._service.uid, self._service.gid, follow_symlinks=False)
                pipes += os.pipe2(os.O_CLOEXEC)
                pipes += os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)  # an engine that is not heard goes on
                pid = self._fork(settings, listening, pipes)
        except OSError as error:
            _log.exception("fork_failed", tenant=tenant)
            for descriptor in pipes[::2]:
                os.close(descriptor)
            raise RemoteError(ErrorCode.UNAVAILABLE, "the engine could not be started", retry_after=1) from error
        finally:
            for descriptor in pipes[1::2]:
                os.close(descriptor)
        child = _Child(EngineProcess(tenant, pid, time.time()), path, pipes[0], Voice(tenant, pipes[2]))
        self._children[tenant] = child
        self._selector.register(pipes[0], selectors.EVENT_READ, lambda: self._hear_whether_it_serves(child))
        self._selector.register(pipes[2], selectors.EVENT_READ, lambda: self._hear(child.voice))
        return child.process

    def reap(self) -> list[Exited]:
        """Return the engines that have ended since the last call."""
        exits: list[Exited] = []
        while True:
            try:
                pid, raw_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return exits
            if pid == 0:
                return exits
            child = next((child for child in self._children.values() if child.process.pid == pid), None)
            if child is None:
                continue
            tenant = child.process.tenant
            del self._children[tenant]
            child.socket_path.unlink(missing_ok=True)
            self._hear_whether_it_serves(child)
            status = os.waitstatus_to_exitcode(raw_status)
            _log.info("engine_exited", tenant=tenant, pid=pid, status=status)
            exits.append(Exited(tenant, pid, status, served=child.process.serving))

    def _hear_whether_it_serves(self, child: _Child) -> None:
        """Read the byte with which an engine says that it serves, or find that it has ended without."""
        if child.serving is None:
            return
        self._selector.unregister(child.serving)
        said = os.read(child.serving, 1)
        os.close(child.serving)
        child.serving = None
        if said:
            child.process.serving = True
            self._served(child.process)

    def _hear(self, voice: Voice) -> None:
        if not voice.listen():
            self._selector.unregister(voice.pipe)
            os.close(voice.pipe)

    def _fork(self, settings: main.EngineSettings, listening: socket.socket, pipes: list[int]) -> int:
        # A signal to a child that still has our wake-up pipe would be taken for one to us.
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            pid = os.fork()
            if pid == 0:
                self._become_engine(settings, listening, serving=pipes[1], voice=pipes[3])
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        return pid

    def _become_engine(self, settings: main.EngineSettings, listening: socket.socket, *, serving: int, voice: int) -> NoReturn:
        """Drop everything of the fork server's and serve one tenant."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in HANDLED:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
            os.setsid()  # which the kernel shares the processor by
            self._let_go()
            _speak_through(voice)
            _close_all_but(listening.fileno(), serving)
            os.umask(0o077 if self._service is None else UMASK)
            setproctitle.setproctitle(f"engram engine {settings.tenant}")
            main.run(settings, self._confinement, listening, serving=lambda: _tell(serving))
            status = 0
        except BaseException as error:
            _log.error("engine_failed", tenant=settings.tenant, error=type(error).__name__, exc_info=error)
        finally:
            os._exit(status)


def _speak_through(voice: int) -> None:
    """Make ``voice`` this process's standard output and error; it has no input."""
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for source, target in ((nothing, 0), (voice, 1), (voice, 2)):
        os.dup2(source, target)


def _close_all_but(*kept: int) -> None:
    """Close every descriptor but the standard ones and ``kept``.

    What Python objects hold must have been closed through them: closed behind an object's back, the number would be closed
    again by its finalizer, when it may long belong to the database.
    """
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if descriptor > 2 and descriptor not in kept:
            with contextlib.suppress(OSError):  # that of the listing itself
                os.close(descriptor)


def _tell(serving: int) -> None:
    """Write the byte that says that the engine answers requests."""
    os.write(serving, b"1")
    os.close(serving)


def _private_bytes(pid: int) -> int | None:
    """Return what a process shares with no other, ``None`` if it has ended. Source: ``proc_pid_smaps(5)``."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    return sum(
        1024 * int(line.split()[1]) for line in rollup.splitlines() if line.startswith(("Private_Clean:", "Private_Dirty:"))
    )
