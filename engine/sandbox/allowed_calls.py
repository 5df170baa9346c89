"""The system calls that a running engine may make, and with which arguments. Everything else is refused.

The list is what SQLite, CPython's interpreter, its event loop, its threads and glibc need to serve requests on sockets and
files that are open or lie in the engine's folder; each group says what for. Refused are therefore, without being named: making
sockets, connecting, binding, receiving descriptors, starting programs, tracing, signals, namespaces, mounts, keys, BPF,
io_uring, links of any kind, opening by handle, changing the user.
"""

from __future__ import annotations

import mmap
import termios
from dataclasses import dataclass

_CLONE_THREAD = 0x00010000
_CLONE_NAMESPACES = 0x7E020000
"""``CLONE_NEWNS``, ``NEWCGROUP``, ``NEWUTS``, ``NEWIPC``, ``NEWUSER``, ``NEWPID`` and ``NEWNET``."""

_SET_ID_BITS = 0o6000
_FIOCLEX, _FIONCLEX = 0x5451, 0x5450


@dataclass(frozen=True)
class Masked:
    """An argument must be ``value`` where ``mask`` has ones. The lower 32 bits are looked at."""

    argument: int
    mask: int
    value: int


@dataclass(frozen=True)
class OneOf:
    """An argument must be one of ``values``, of 32 bits."""

    argument: int
    values: tuple[int, ...]


@dataclass(frozen=True)
class Zero:
    """An argument, all 64 bits of it, must be zero."""

    argument: int


Condition = Masked | OneOf | Zero

_UNCONDITIONAL = """
read readv pread64 preadv write writev pwrite64 pwritev lseek close fcntl flock fsync fdatasync ftruncate truncate fallocate
open openat unlink unlinkat rename renameat renameat2 getdents64
stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat getcwd umask
listen accept accept4 recvfrom sendto sendmsg shutdown getsockname getpeername getsockopt
epoll_ctl epoll_wait epoll_pwait epoll_pwait2 poll ppoll select pselect6
brk munmap mremap madvise membarrier
futex set_robust_list set_tid_address rseq sched_yield sched_getaffinity
rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall exit exit_group
clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times
getpid getppid gettid getuid geteuid getgid getegid getrusage sysinfo uname getrandom
"""

ALLOWED: dict[str, tuple[Condition, ...]] = dict.fromkeys(_UNCONDITIONAL.split(), ()) | {
    # No page of memory becomes code: nothing is loaded late, and nothing that was written is run.
    "mmap": (Masked(2, mmap.PROT_EXEC, 0),),
    "mprotect": (Masked(2, mmap.PROT_EXEC, 0),),
    # A thread, such as that of the check beside the work, but no process and no namespace.
    "clone": (Masked(0, _CLONE_THREAD | _CLONE_NAMESPACES, _CLONE_THREAD),),
    # SQLite gives -wal and -shm the mode of the database; no file gets to run as somebody.
    "chmod": (Masked(1, _SET_ID_BITS, 0),),
    "fchmod": (Masked(1, _SET_ID_BITS, 0),),
    "fchmodat": (Masked(2, _SET_ID_BITS, 0),),
    "fchmodat2": (Masked(2, _SET_ID_BITS, 0),),
    # To be non-blocking, to be closed on exec, and to ask whether it is a terminal; no device is there to be spoken to.
    "ioctl": (OneOf(1, (termios.FIONBIO, _FIOCLEX, _FIONCLEX, termios.TCGETS)),),
    # Limits are read, by glibc when it makes a thread, and not raised; and of this process alone.
    "prlimit64": (Zero(0), Zero(2)),
}
"""Each call, and the conditions that must all hold."""

NOT_THERE = ("clone3",)
"""Answered as a kernel does that lacks them: glibc then takes the older call, whose arguments a filter can see."""
