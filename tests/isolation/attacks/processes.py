"""Other processes: what /proc says of them, and what one may do to them without a signal."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
import threading

from tests.isolation.attack import CATALOGUE, Targets
from tests.isolation.system import buffer, call, read

attack = CATALOGUE.family("processes")

_KCMP_VM = 1
_PRIO_PROCESS = 0
_IOPRIO_WHO_PROCESS = 1
_SIGCHLD = 17
_MANY = 80
"""More than one tenant may have threads."""


@attack(steals="key")
def read_bystanders_environment(targets: Targets) -> bytes:
    """Read the environment of a process of the service, where its keys are."""
    return read(f"/proc/{targets.bystander}/environ")


@attack(steals="neighbour")
def read_through_neighbours_root(targets: Targets) -> bytes:
    """Read the neighbour's file through /proc/…/root of the neighbour's process."""
    root = os.readlink(f"/proc/{targets.neighbour_pid}/root")
    path = targets.neighbour_file.removeprefix(root.rstrip("/"))
    return read(f"/proc/{targets.neighbour_pid}/root{path}")


@attack(steals="neighbour")
def read_through_neighbours_descriptors(targets: Targets) -> bytes:
    """Read the neighbour's file through /proc/…/fd of the neighbour's process."""
    return read(f"/proc/{targets.neighbour_pid}/fd/{targets.neighbour_descriptor}")


@attack()
def read_neighbours_maps(targets: Targets) -> bytes | str:
    """See which memory the neighbour has mapped."""
    return read(f"/proc/{targets.neighbour_pid}/maps", 64) or _nothing()


@attack()
def find_engines_in_proc(targets: Targets) -> str:
    """Find other tenants' names in the list of processes."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if targets.neighbour.encode() in read(f"/proc/{entry}/cmdline"):
                    return f"{targets.neighbour} is process {entry}"
    return _nothing()


@attack()
def open_process(targets: Targets) -> str:
    """Get a handle of the neighbour's process, by pidfd_open."""
    return f"descriptor {call('pidfd_open', targets.neighbour_pid, 0)}"


@attack()
def compare_with_neighbour(targets: Targets) -> str:
    """Compare its kernel objects with the neighbour's, by kcmp."""
    return f"order {call('kcmp', os.getpid(), targets.neighbour_pid, _KCMP_VM, 0, 0)}"


@attack()
def read_neighbours_limits(targets: Targets) -> str:
    """Read the neighbour's limits, by prlimit."""
    call("prlimit64", targets.neighbour_pid, resource.RLIMIT_NOFILE, 0, limits := buffer(16))
    return f"{struct.unpack('QQ', limits.raw)}"


@attack()
def set_neighbours_limits(targets: Targets) -> str:
    """Set the neighbour's limit of core files, by prlimit."""
    call("prlimit64", targets.neighbour_pid, resource.RLIMIT_CORE, buffer(16), 0)
    return "it is set"


@attack()
def pin_neighbour(targets: Targets) -> str:
    """Choose the neighbour's processors, by sched_setaffinity."""
    call("sched_setaffinity", targets.neighbour_pid, 8, buffer(b"\xff" * 8))
    return "they are chosen"


@attack()
def reschedule_neighbour(targets: Targets) -> str:
    """Change how the neighbour is scheduled, by sched_setscheduler."""
    call("sched_setscheduler", targets.neighbour_pid, os.SCHED_BATCH, buffer(4))
    return "it is a batch job now"


@attack()
def slow_neighbour_down(targets: Targets) -> str:
    """Lower the neighbour's priority, by setpriority."""
    call("setpriority", _PRIO_PROCESS, targets.neighbour_pid, 1)
    return "it is lower"


@attack()
def slow_neighbours_disk_down(targets: Targets) -> str:
    """Lower the priority of the neighbour's disk accesses, by ioprio_set."""
    call("ioprio_set", _IOPRIO_WHO_PROCESS, targets.neighbour_pid, 3 << 13)
    return "they wait now"


@attack()
def read_neighbours_robust_list(targets: Targets) -> str:
    """Learn an address in the neighbour's memory, by get_robust_list."""
    call("get_robust_list", targets.neighbour_pid, head := buffer(8), buffer(8))
    return f"{struct.unpack('Q', head.raw)[0]:#x}"


@attack()
def count_neighbours_events(targets: Targets) -> str:
    """Count what the neighbour's process does, by perf_event_open."""
    attributes = buffer(struct.pack("IIQQQQQ", 1, 128, 1, 0, 0, 0, 0).ljust(128, b"\0"))
    counter = call("perf_event_open", attributes, targets.neighbour_pid, -1, -1, 0)
    return f"{struct.unpack('Q', os.read(counter, 8))[0]} ns of processor time"


@attack()
def fork(_: Targets) -> str:
    """Have a child."""
    pid = _child()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return f"process {pid}"


@attack()
def fork_many(_: Targets) -> str:
    """Have more children than a tenant may have threads."""
    children: list[int] = []
    try:
        while len(children) < _MANY:
            children.append(_child())
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return f"{len(children)} children at once"


@attack()
def start_many_threads(_: Targets) -> str:
    """Start more threads than a tenant may have."""
    end = threading.Event()
    threads: list[threading.Thread] = []
    try:
        while len(threads) < _MANY:
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError as error:
        raise OSError(11, f"{error} after {len(threads)}") from error
    finally:
        end.set()
    return f"{len(threads)} threads at once"


def _child() -> int:
    pid = call("clone", _SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        try:
            ctypes.CDLL(None).pause()
        finally:
            os._exit(0)
    return pid


def _nothing() -> str:
    raise FileNotFoundError(2, "there is none")
