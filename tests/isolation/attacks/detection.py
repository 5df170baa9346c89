"""Finding out that there are others, and what they do, without touching anything of theirs."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable

from tests.isolation.attack import CATALOGUE, Targets
from tests.isolation.attacks.signals import connections
from tests.isolation.system import buffer, call, read

attack = CATALOGUE.family("detection")

_F_SETOWN = 8
_SO_PEERPIDFD = 77
_FUTEX_TRYLOCK_PI = 8
_PRIO_PROCESS = 0


@attack()
def read_load(_: Targets) -> bytes:
    """Read how busy the machine is."""
    return read("/proc/loadavg") or b""


@attack()
def read_processor_times(_: Targets) -> bytes:
    """Read how long the processors have worked."""
    return read("/proc/stat", 64)


@attack()
def read_socket_names(targets: Targets) -> str:
    """Find the neighbour's socket in the kernel's list."""
    with open("/proc/net/unix", "rb") as sockets:
        if f"{targets.neighbour}.sock".encode() not in sockets.read():
            raise FileNotFoundError(errno.ENOENT, "it is not there")
    return f"{targets.neighbour}.sock"


@attack()
def read_file_locks(_: Targets) -> bytes:
    """Read who holds locks on which files."""
    return read("/proc/locks", 64)


@attack()
def count_processes(_: Targets) -> str:
    """Be told by sysinfo how many processes there are, and how busy the machine is."""
    call("sysinfo", information := buffer(128))
    return f"{struct.unpack_from('H', information, 80)[0]} processes"


@attack()
def time_neighbour(targets: Targets) -> str:
    """Read the processor time that the neighbour has used, by clock_gettime."""
    call("clock_gettime", _clock_of(targets.neighbour_pid), time := buffer(16))
    seconds, nanoseconds = struct.unpack("qq", time.raw)
    return f"{seconds}.{nanoseconds:09} s"


@attack()
def find_neighbour_by_clock(targets: Targets) -> str:
    """Find out by clock_getres that a process is there."""
    return _told_apart(targets, lambda pid: call("clock_getres", _clock_of(pid), buffer(16)))


@attack()
def wait_for_neighbours_clock(targets: Targets) -> str:
    """Find out by clock_nanosleep that a process is there, and sleep until it has worked for a while."""
    return _told_apart(targets, lambda pid: call("clock_nanosleep", _clock_of(pid), 0, buffer(16), 0))


@attack()
def find_neighbour_by_affinity(targets: Targets) -> str:
    """Find out by sched_getaffinity that a process is there."""
    return _told_apart(targets, lambda pid: call("sched_getaffinity", pid, 128, buffer(128)))


@attack()
def find_neighbour_by_ownership(targets: Targets) -> str:
    """Find out that a process is there by naming it a socket's owner."""
    return _told_apart(targets, lambda pid: call("fcntl", connections()[0], _F_SETOWN, pid))


@attack()
def find_neighbour_by_lock(targets: Targets) -> str:
    """Find out that a process is there by a lock that it is said to hold."""

    def lock_of(pid: int) -> None:
        try:
            call("futex", ctypes.byref(ctypes.c_uint32(pid)), _FUTEX_TRYLOCK_PI, 0, 0, 0, 0)
        except OSError as error:
            if error.errno != errno.EAGAIN:  # that it is held
                raise

    return _told_apart(targets, lock_of)


@attack()
def find_neighbour_by_priority(targets: Targets) -> str:
    """Find out by getpriority that a process is there."""
    return _told_apart(targets, lambda pid: call("getpriority", _PRIO_PROCESS, pid))


@attack()
def find_neighbour_by_group(targets: Targets) -> str:
    """Find out by getsid that a process is there."""
    return _told_apart(targets, lambda pid: call("getsid", pid))


@attack()
def hold_peer(_: Targets) -> str:
    """Get a handle of the process that asks it, by SO_PEERPIDFD."""
    with socket.socket(fileno=os.dup(connections()[0])) as connection:
        return f"descriptor {connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)}"


def _told_apart(targets: Targets, probe: Callable[[int], object]) -> str:
    """Return that the neighbour's process answers to a probe as no process does that is not there."""
    probe(targets.neighbour_pid)
    try:
        probe(targets.nobody)
    except OSError:
        return f"process {targets.neighbour_pid} is there, {targets.nobody} is not"
    raise FileNotFoundError(errno.ENOENT, "they look alike")


def _clock_of(pid: int) -> int:
    """Return the clock of a process: ``MAKE_PROCESS_CPUCLOCK`` of ``linux/posix-timers.h``."""
    return (~pid << 3) | 2
