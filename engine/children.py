"""Engines as child processes: forked, listed, signalled, reaped. Belongs to the fork server's one thread."""

from __future__ import annotations

import os
import selectors
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
from engine.layout import engine_socket, tenant_folder
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.processes import EngineMemory, EngineProcess, Exited

_log = structlog.get_logger()

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
"""The signals that the fork server handles and a child must not inherit handled."""


@dataclass
class _Child:
    process: EngineProcess
    socket_path: Path
    serving: int | None
    """The pipe into which the engine writes a byte when it answers requests; ``None`` once that is known."""


class Children:
    """All engines of this node."""

    def __init__(
        self,
        data_folder: Path,
        selector: selectors.BaseSelector,
        *,
        served: Callable[[EngineProcess], None],
        let_go: Callable[[], None],
    ) -> None:
        """``served`` is told of engines that answer requests; ``let_go`` closes, in a child, what belongs to the parent.

        Pipes are registered in ``selector`` with a callable as their data.
        """
        self._data_folder = data_folder
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

    def fork(self, tenant: str) -> EngineProcess:
        """Start the engine of one tenant, or return the one that runs; ``unavailable`` when the machine can't."""
        if (running := self._children.get(tenant)) is not None:
            return running.process
        folder = tenant_folder(self._data_folder, tenant)
        path = engine_socket(self._data_folder, tenant)
        settings = main.EngineSettings(tenant=tenant, folder=folder, parent=os.getpid())
        try:
            (folder / "outbox").mkdir(mode=0o700, parents=True, exist_ok=True)
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
        child = _Child(EngineProcess(tenant, pid, time.time()), path, serving_read)
        self._children[tenant] = child
        self._selector.register(serving_read, selectors.EVENT_READ, lambda: self._hear(child))
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
            self._hear(child)
            status = os.waitstatus_to_exitcode(raw_status)
            _log.info("engine_exited", tenant=tenant, pid=pid, status=status)
            exits.append(Exited(tenant, pid, status, served=child.process.serving))

    def _hear(self, child: _Child) -> None:
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
                if child.serving is not None:
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


def _private_bytes(pid: int) -> int | None:
    """Return what a process shares with no other, ``None`` if it has ended. Source: ``proc_pid_smaps(5)``."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    return sum(
        1024 * int(line.split()[1]) for line in rollup.splitlines() if line.startswith(("Private_Clean:", "Private_Dirty:"))
    )
