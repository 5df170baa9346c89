"""Signals to processes that are not its own. Sent is what does no harm: number 0, or what the receiver expects."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import stat
import struct
from typing import Any

from tests.isolation.attack import CATALOGUE, Targets
from tests.isolation.system import buffer, call

attack = CATALOGUE.family("signals")

_F_SETOWN, _F_SETFL = 8, 4
_SI_QUEUE = -1
_DESCRIPTORS_MAX = 256


def _heard(scene: Any) -> str:
    numbers = scene.bystander.heard()
    return f"it got signal {numbers[0]}" if numbers else ""


@attack()
def signal_neighbour(targets: Targets) -> str:
    """Signal the neighbour by kill."""
    call("kill", targets.neighbour_pid, 0)
    return "it may"


@attack()
def signal_fork_server(targets: Targets) -> str:
    """Signal the fork server by kill."""
    call("kill", targets.fork_server, 0)
    return "it may"


@attack()
def signal_everybody(_: Targets) -> str:
    """Signal every process by kill(-1)."""
    call("kill", -1, 0)
    return "it may"


@attack()
def signal_a_thread(targets: Targets) -> str:
    """Signal the neighbour's thread by tgkill."""
    call("tgkill", targets.neighbour_pid, targets.neighbour_pid, 0)
    return "it may"


@attack()
def signal_by_handle(targets: Targets) -> str:
    """Signal the neighbour by pidfd_send_signal."""
    process = call("pidfd_open", targets.neighbour_pid, 0)
    call("pidfd_send_signal", process, 0, 0, 0)
    return "it may"


@attack(seen=_heard)
def signal_bystander(targets: Targets) -> None:
    """Send a process of the service a signal by kill."""
    call("kill", targets.bystander, signal.SIGUSR1)


@attack(seen=_heard)
def queue_a_signal(targets: Targets) -> None:
    """Send a process of the service a signal with a value by rt_sigqueueinfo."""
    information = buffer(struct.pack("iiiiiiQ", signal.SIGUSR1, 0, _SI_QUEUE, 0, os.getpid(), os.getuid(), 7).ljust(128, b"\0"))
    call("rt_sigqueueinfo", targets.bystander, signal.SIGUSR1, information)


@attack(seen=_heard)
def signal_through_a_socket(targets: Targets) -> None:
    """Name a process of the service as a socket's owner, so that the kernel sends it SIGIO."""
    pair = connections(own=True)
    for number in pair:
        call("fcntl", number, _F_SETOWN, targets.bystander)
        call("fcntl", number, _F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    for number in pair:
        os.write(number, b"\0")


@attack(seen=lambda scene: "it is stopped" if scene.bystander.is_stopped() else "")
def stop_bystander(targets: Targets) -> None:
    """Stop a process of the service by SIGSTOP."""
    call("kill", targets.bystander, signal.SIGSTOP)


def connections(*, own: bool = False) -> list[int]:
    """Return the descriptors of this process that are connected sockets: to who asks it, in their order, or with ``own`` the
    event loop's own pair, which has no name."""
    found = []
    for number in range(3, _DESCRIPTORS_MAX):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                with socket.socket(fileno=os.dup(number)) as candidate:
                    candidate.getpeername()
                    if bool(candidate.getsockname()) is not own:
                        found.append(number)
    if not found:
        raise OSError(errno.EBADF, "there is no connection")
    return found
