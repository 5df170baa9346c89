"""The kernel's calls that Python has no function for, by number.

Only x86_64 and aarch64 have numbers here; elsewhere, and on other systems than Linux, ``ARCHITECTURE`` is ``None`` and the
layers that need them are missing. Sources: ``arch/x86/entry/syscalls/syscall_64.tbl`` and ``include/uapi/asm-generic/unistd.h``
of Linux 6.12.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import dataclass

_libc = ctypes.CDLL(None, use_errno=True)

LANDLOCK_CREATE_RULESET = 444
LANDLOCK_ADD_RULE = 445
LANDLOCK_RESTRICT_SELF = 446
"""Calls from 424 on have the same number on every architecture."""

PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECCOMP_MODE_FILTER = 2
CLONE_NEWUSER = 0x10000000


@dataclass(frozen=True)
class Architecture:
    """How the kernel names an architecture in a filter, and the numbers of its older calls."""

    audit: int
    """``AUDIT_ARCH_*`` of ``linux/audit.h``."""
    numbers: dict[str, int]
    foreign_bit: int = 0
    """Set in a number that belongs to another calling convention of the same machine (x32)."""


_X86_64 = """
read=0 write=1 open=2 close=3 stat=4 fstat=5 lstat=6 poll=7 lseek=8 mmap=9 mprotect=10 munmap=11 brk=12 rt_sigaction=13
rt_sigprocmask=14 rt_sigreturn=15 ioctl=16 pread64=17 pwrite64=18 readv=19 writev=20 access=21 select=23 sched_yield=24
mremap=25 madvise=28 nanosleep=35 getpid=39 accept=43 sendto=44 recvfrom=45 sendmsg=46 shutdown=48 listen=50 getsockname=51
getpeername=52 getsockopt=55 clone=56 exit=60 uname=63 fcntl=72 flock=73 fsync=74 fdatasync=75 truncate=76
ftruncate=77 getcwd=79 rename=82 unlink=87 readlink=89 chmod=90 fchmod=91 umask=95 gettimeofday=96 getrusage=98
times=100 getuid=102 getgid=104 geteuid=107 getegid=108 getppid=110 sigaltstack=131 statfs=137 fstatfs=138 gettid=186
time=201 futex=202 sched_getaffinity=204 getdents64=217 set_tid_address=218 restart_syscall=219 clock_gettime=228
clock_getres=229 clock_nanosleep=230 exit_group=231 epoll_wait=232 epoll_ctl=233 openat=257 newfstatat=262 unlinkat=263
renameat=264 readlinkat=267 fchmodat=268 faccessat=269 pselect6=270 ppoll=271 set_robust_list=273 epoll_pwait=281
fallocate=285 accept4=288 preadv=295 pwritev=296 prlimit64=302 renameat2=316 getrandom=318 membarrier=324 preadv2=327
statx=332 rseq=334
"""

_AARCH64 = """ getcwd=17 epoll_ctl=21 epoll_pwait=22 fcntl=25 ioctl=29 flock=32 unlinkat=35 renameat=38 statfs=43 fstatfs=44
truncate=45 ftruncate=46 fallocate=47 faccessat=48 fchmod=52 fchmodat=53 openat=56 close=57 getdents64=61 lseek=62 read=63
write=64 readv=65 writev=66 pread64=67 pwrite64=68 preadv=69 pwritev=70 pselect6=72 ppoll=73 readlinkat=78 newfstatat=79
fstat=80 fsync=82 fdatasync=83 exit=93 exit_group=94 set_tid_address=96 futex=98 set_robust_list=99 nanosleep=101
clock_gettime=113 clock_getres=114 clock_nanosleep=115 sched_getaffinity=123 sched_yield=124 restart_syscall=128 sigaltstack=132
rt_sigaction=134 rt_sigprocmask=135 rt_sigreturn=139 times=153 uname=160 getrusage=165 umask=166 gettimeofday=169 getpid=172
getppid=173 getuid=174 geteuid=175 getgid=176 getegid=177 gettid=178 listen=201 accept=202 getsockname=204
getpeername=205 sendto=206 recvfrom=207 getsockopt=209 shutdown=210 sendmsg=211 brk=214 munmap=215 mremap=216
clone=220 mmap=222 mprotect=226 madvise=233 accept4=242 prlimit64=261 renameat2=276 getrandom=278 membarrier=283
preadv2=286 statx=291 rseq=293
"""

_ANYWHERE = "clone3=435 faccessat2=439 epoll_pwait2=441 fchmodat2=452"

NUMBER_MAX = 462
"""The highest number that Linux 6.12 has (``mseal``): what is above is unknown to whoever wrote this list."""


def _numbers(table: str) -> dict[str, int]:
    return {name: int(number) for name, _, number in (entry.partition("=") for entry in f"{table} {_ANYWHERE}".split())}


def _this_machine() -> Architecture | None:
    if sys.platform != "linux" or sys.maxsize <= 2**32:
        return None
    if platform.machine() == "x86_64":
        return Architecture(0xC000003E, _numbers(_X86_64), foreign_bit=0x40000000)
    if platform.machine() == "aarch64":
        return Architecture(0xC00000B7, _numbers(_AARCH64))
    return None


ARCHITECTURE = _this_machine()


def call(number: int, *arguments: object) -> int:
    """Make a system call; ``OSError`` when it fails."""
    result = int(_libc.syscall(number, *arguments))
    return _checked(result, f"system call {number}")


def prctl(option: int, *arguments: int) -> int:
    """``prctl(2)``; ``OSError`` when it fails."""
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    return _checked(int(_libc.prctl(option, *padded)), f"prctl({option})")


def unshare(flags: int) -> None:
    """``unshare(2)``; ``OSError`` when it fails."""
    _checked(int(_libc.unshare(flags)), "unshare")


def capset(header: ctypes.Structure, data: ctypes.Array[ctypes.c_uint32]) -> None:
    """``capset(2)``; ``OSError`` when it fails."""
    _checked(int(_libc.capset(ctypes.byref(header), data)), "capset")


def capget(header: ctypes.Structure, data: ctypes.Array[ctypes.c_uint32]) -> None:
    """``capget(2)``; ``OSError`` when it fails."""
    _checked(int(_libc.capget(ctypes.byref(header), data)), "capget")


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
