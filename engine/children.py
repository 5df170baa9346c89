"""Engines as child processes: forked, listed, signalled, reaped. Belongs to the fork server's one thread."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import setproctitle
import structlog

from engine import main
from engine.address import listen
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.processes import EngineProcess, Exited

_log = structlog.get_logger()

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
"""The signals that the fork server handles and a child must not inherit handled."""


@dataclass(frozen=True)
class _Child:
    process: EngineProcess
    socket_path: Path
    serving: int
    """The pipe into which the engine writes a byte when it answers requests."""


class Children:
    """All engines of this node."""

    def __init__(self, sockets: Path, *, let_go: Callable[[], None]) -> None:
        """``sockets`` is the folder of the engines' sockets; ``let_go`` closes, in a child, what belongs to the parent."""
        self._sockets = sockets
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

    def fork(self, tenant: str, folder: Path) -> EngineProcess:
        """Start the engine of one tenant, or return the one that runs; ``unavailable`` when the machine can't."""
        if (running := self._children.get(tenant)) is not None:
            return running.process
        path = self._sockets / f"{tenant}.sock"
        settings = main.EngineSettings(tenant=tenant, folder=folder, parent=os.getpid())
        try:
            with listen(path) as listening:
                serving_read, serving_write = os.pipe()
                try:
                    pid = self._fork(settings, listening, serving_read, serving_write)
                except BaseException:
                    os.close(serving_read)
                    raise
                finally:
                    os.close(serving_write)
        except OSError as error:
            _log.exception("fork_failed", tenant=tenant)
            raise RemoteError(ErrorCode.UNAVAILABLE, "the engine could not be started", retry_after=1) from error
        process = EngineProcess(tenant, pid, time.time())
        self._children[tenant] = _Child(process, path, serving_read)
        return process

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
            served = os.read(child.serving, 1) != b""
            os.close(child.serving)
            status = os.waitstatus_to_exitcode(raw_status)
            _log.info("engine_exited", tenant=tenant, pid=pid, status=status)
            exits.append(Exited(tenant, pid, status, served))

    def _fork(self, settings: main.EngineSettings, listening: socket.socket, serving_read: int, serving_write: int) -> int:
        # A signal to a child that still has our wake-up pipe would be taken for one to us.
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            pid = os.fork()
            if pid == 0:
                os.close(serving_read)
                self._become_engine(settings, listening, serving_write)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        return pid

    def _become_engine(self, settings: main.EngineSettings, listening: socket.socket, serving: int) -> NoReturn:
        """Drop everything of the fork server's and serve one tenant."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in HANDLED:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
            # Closed through their objects: a descriptor closed behind an object's back would be closed again by its
            # finalizer, when the number may long belong to the database.
            self._let_go()
            for child in self._children.values():
                os.close(child.serving)
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
