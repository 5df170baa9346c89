"""Memory: the neighbour's, the service's, what the fork server left behind, and more than its share."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import stat
import struct
from pathlib import Path

from tests.isolation.attack import CANARY, CATALOGUE, Targets
from tests.isolation.attacks.files import own_folder
from tests.isolation.system import buffer, call

attack = CATALOGUE.family("memory")

HOG_BYTES = 512 * 1024 * 1024
"""Twice what the prover allows an engine to take."""

_PTRACE_SEIZE = 0x4206
_SHM_RDONLY = 0o10000
_IPC_NOWAIT = 0o4000
_GETVAL = 12
_PEEK_BYTES = 256

_regions: list[tuple[int, int]] = []


def note_regions() -> None:
    """Remember which memory this process has: an engine can't see the list any more."""
    _regions.clear()
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights = line.split()[:2]
        first, _, last = span.partition("-")
        if rights.startswith("rw") and "[vvar" not in line:
            _regions.append((int(first, 16), int(last, 16)))


@attack(steals="key", layer="a fork server without secrets")
def search_own_memory(targets: Targets) -> bytes:
    """Search its own memory for keys that the fork server has seen."""
    found: set[bytes] = set()
    path = f"{own_folder(targets)}/own-memory"
    for first, last in _regions:
        # Through a file: the kernel stops where nothing is any more; to touch that would end this process.
        with open(path, "w+b", 0) as file, contextlib.suppress(OSError):
            call("write", file.fileno(), first, last - first)
            file.seek(0)
            found |= {match.group() for match in CANARY.finditer(file.read())}
    if not found:
        raise FileNotFoundError(2, "there is no secret in it")
    return b" ".join(sorted(found))


@attack(steals="control", layer="closed descriptors")
def use_inherited_descriptors(targets: Targets) -> bytes:
    """Read from every descriptor that it did not open itself."""
    own = {os.stat(entry.path).st_ino for entry in os.scandir(own_folder(targets))}
    found = []
    for descriptor in range(3, 1024):
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_GETFD)
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and status.st_ino not in own:
                found.append(os.pread(descriptor, 1 << 20, 0))
    if not found:
        raise FileNotFoundError(2, "there is none")
    return b" ".join(found)


@attack(steals="neighbour")
def read_neighbours_memory(targets: Targets) -> bytes:
    """Read the neighbour's memory by process_vm_readv."""
    return _read_memory(targets.neighbour_pid, targets.neighbour_secret_at)


@attack(steals="neighbour")
def read_neighbours_memory_through_proc(targets: Targets) -> bytes:
    """Read the neighbour's memory through /proc."""
    with open(f"/proc/{targets.neighbour_pid}/mem", "rb", 0) as memory:
        memory.seek(targets.neighbour_secret_at)
        return memory.read(_PEEK_BYTES)


@attack(seen=lambda scene: "its memory has changed" if scene.bystander.buffer() != bytes(32) else "")
def write_bystanders_memory(targets: Targets) -> None:
    """Write into the memory of a process of the service by process_vm_writev."""
    text = buffer(b"spoilt".ljust(32))
    call(
        "process_vm_writev", targets.bystander, _span(ctypes.addressof(text), 32), 1, _span(targets.bystander_buffer, 32), 1, 0
    )


@attack()
def trace_neighbour(targets: Targets) -> str:
    """Trace the neighbour by ptrace."""
    call("ptrace", _PTRACE_SEIZE, targets.neighbour_pid, 0, 0)
    return "it is traced"


@attack(steals="neighbour")
def copy_neighbours_descriptor(targets: Targets) -> bytes:
    """Copy the neighbour's open file out of it by pidfd_getfd."""
    process = call("pidfd_open", targets.neighbour_pid, 0)
    descriptor = call("pidfd_getfd", process, targets.neighbour_descriptor, 0)
    return os.pread(descriptor, 1 << 20, 0)


@attack(steals="shared")
def read_shared_memory(targets: Targets) -> bytes:
    """Attach a System V shared memory segment of the service's."""
    at = call("shmat", targets.shared_memory, 0, _SHM_RDONLY)
    return ctypes.string_at(at, _PEEK_BYTES)


@attack(steals="shared")
def read_message_queue(targets: Targets) -> bytes:
    """Take a message from a System V queue of the service's."""
    message = buffer(8 + _PEEK_BYTES)
    call("msgrcv", targets.message_queue, message, _PEEK_BYTES, 0, _IPC_NOWAIT)
    return message.raw[8:]


@attack()
def read_semaphore(targets: Targets) -> str:
    """Read a System V semaphore of the service's."""
    return f"its value is {call('semctl', targets.semaphore, 0, _GETVAL, 0)}"


@attack(steals="shared")
def read_posix_queue(targets: Targets) -> bytes:
    """Take a message from a POSIX queue of the service's."""
    descriptor = call("mq_open", targets.posix_queue, os.O_RDONLY | os.O_NONBLOCK, 0, 0)
    message = buffer(_PEEK_BYTES)
    call("mq_timedreceive", descriptor, message, _PEEK_BYTES, 0, 0)
    return message.raw


@attack()
def take_more_than_its_share(_: Targets) -> str:
    """Take twice the memory that an engine may have."""
    with mmap.mmap(-1, HOG_BYTES) as memory:
        memory[0] = memory[HOG_BYTES - 1] = 1
    return f"it had {HOG_BYTES >> 20} MiB"


@attack()
def handle_own_page_faults(_: Targets) -> str:
    """Get a descriptor that stops the kernel at page faults, by userfaultfd."""
    return f"descriptor {call('userfaultfd', os.O_NONBLOCK)}"


def _read_memory(pid: int, address: int) -> bytes:
    text = buffer(_PEEK_BYTES)
    call("process_vm_readv", pid, _span(ctypes.addressof(text), _PEEK_BYTES), 1, _span(address, _PEEK_BYTES), 1, 0)
    return text.raw


def _span(address: int, length: int) -> ctypes.Array[ctypes.c_char]:
    """Return an ``iovec``."""
    return buffer(struct.pack("QQ", address, length))
