"""The system calls that a running engine may make, and with which arguments. Everything else is refused.

The list is what SQLite, CPython's interpreter, its event loop, its threads and glibc need to serve requests on sockets and
files that are open or lie in the engine's folder; each group says what for. Refused are therefore, without being named: making
sockets, connecting, binding, receiving descriptors, starting programs, tracing, signals, namespaces, mounts, keys, BPF,
io_uring, links of any kind, opening by handle, changing the user, and asking about other processes.
"""

from __future__ import annotations

import fcntl
import mmap
import socket
import termios
from dataclasses import dataclass

_CLONE_THREAD = 0x00010000
_CLONE_NAMESPACES = 0x7E020000
"""``CLONE_NEWNS``, ``NEWCGROUP``, ``NEWUTS``, ``NEWIPC``, ``NEWUSER``, ``NEWPID`` and ``NEWNET``."""

_SET_ID_BITS = 0o6000
_NEGATIVE = 1 << 31
_FIOCLEX, _FIONCLEX = 0x5451, 0x5450

_FCNTL_COMMANDS = (
    *(fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_SETFL),
    *(fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW),
    *(36, 37, 38),  # F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW
)

_SOCKET_OPTIONS = (
    *(socket.SO_TYPE, socket.SO_ERROR, socket.SO_SNDBUF, socket.SO_RCVBUF, socket.SO_ACCEPTCONN),
    *(38, 39),  # SO_PROTOCOL, SO_DOMAIN
)

_FUTEX_PRIVATE, _FUTEX_REALTIME = 128, 256
_FUTEX_OPERATIONS = tuple(
    operation | flags
    for operation in (0, 1, 3, 4, 5, 9, 10)  # WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, WAIT_BITSET, WAKE_BITSET
    for flags in (0, _FUTEX_PRIVATE, _FUTEX_REALTIME, _FUTEX_PRIVATE | _FUTEX_REALTIME)
)


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
read readv pread64 preadv preadv2 write writev pwrite64 pwritev lseek close flock fsync fdatasync ftruncate truncate fallocate
unlink unlinkat rename renameat renameat2 getdents64
stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat getcwd umask
listen accept accept4 recvfrom sendto sendmsg shutdown getsockname getpeername
epoll_ctl epoll_wait epoll_pwait epoll_pwait2 poll ppoll select pselect6
brk munmap mremap madvise membarrier
set_robust_list set_tid_address rseq sched_yield
rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall exit exit_group
nanosleep gettimeofday time times
getpid getppid gettid getuid geteuid getgid getegid getrusage uname getrandom
"""

ALLOWED: dict[str, tuple[Condition, ...]] = dict.fromkeys(_UNCONDITIONAL.split(), ()) | {
    # No page of memory becomes code: nothing is loaded late, and nothing that was written is run.
    "mmap": (Masked(2, mmap.PROT_EXEC, 0),),
    "mprotect": (Masked(2, mmap.PROT_EXEC, 0),),
    # A thread, such as that of the check beside the work, but no process and no namespace.
    "clone": (Masked(0, _CLONE_THREAD | _CLONE_NAMESPACES, _CLONE_THREAD),),
    # No file is born to run as somebody. Without O_CREAT the C library passes no mode.
    "open": (Masked(2, _SET_ID_BITS, 0),),
    "openat": (Masked(3, _SET_ID_BITS, 0),),
    # SQLite gives -wal and -shm the mode of the database; no file gets to run as somebody.
    "chmod": (Masked(1, _SET_ID_BITS, 0),),
    "fchmod": (Masked(1, _SET_ID_BITS, 0),),
    "fchmodat": (Masked(2, _SET_ID_BITS, 0),),
    "fchmodat2": (Masked(2, _SET_ID_BITS, 0),),
    # To be non-blocking, to be closed on exec, and to ask whether it is a terminal; no device is there to be spoken to.
    "ioctl": (OneOf(1, (termios.FIONBIO, _FIOCLEX, _FIONCLEX, termios.TCGETS)),),
    # Locks and flags. F_SETOWN would tell whether a process is there.
    "fcntl": (OneOf(1, _FCNTL_COMMANDS),),
    # What there is to ask about a connection; not who is at its other end, nor a handle of that process.
    "getsockopt": (OneOf(1, (socket.SOL_SOCKET,)), OneOf(2, _SOCKET_OPTIONS)),
    # Negative numbers are other processes' clocks, which tell that they are there and how much they work.
    "clock_gettime": (Masked(0, _NEGATIVE, 0),),
    "clock_getres": (Masked(0, _NEGATIVE, 0),),
    "clock_nanosleep": (Masked(0, _NEGATIVE, 0),),
    "sched_getaffinity": (Zero(0),),
    # Not the locks that have an owner (FUTEX_LOCK_PI …): who names one learns whether it is there.
    "futex": (OneOf(1, _FUTEX_OPERATIONS),),
    # Limits are read, by glibc when it makes a thread, and not raised; and of this process alone.
    "prlimit64": (Zero(0), Zero(2)),
}
"""Each call, and the conditions that must all hold."""

NOT_THERE = ("clone3",)
"""Answered as a kernel does that lacks them: glibc then takes the older call, whose arguments a filter can see."""
