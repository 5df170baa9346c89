"""Capabilities: which of root's powers a process keeps.

Source: ``capabilities(7)``; the numbers are those of ``linux/capability.h``.
"""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

from engine.sandbox import system_calls

CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP = 0, 1, 2, 3, 4, 5, 6, 7, 8
SYS_CHROOT, SYS_PTRACE = 18, 19

_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


def empty_bounding_set() -> None:
    """Give up any way to win a capability by starting a program, for this process and its children, for good."""
    for number in range(_last_capability() + 1):
        with contextlib.suppress(PermissionError):  # without SETPCAP nobody may; then no_new_privs has to do
            system_calls.prctl(system_calls.PR_CAPBSET_DROP, number)
    with contextlib.suppress(OSError):  # a kernel before 4.3
        system_calls.prctl(system_calls.PR_CAP_AMBIENT, system_calls.PR_CAP_AMBIENT_CLEAR_ALL)


def keep_only(capabilities: frozenset[int]) -> None:
    """Give up every other capability of this process for good."""
    header = _Header(_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, twice 32 bits each
    system_calls.capget(header, data)
    for half in (0, 1):
        wanted = sum(1 << (number - 32 * half) for number in capabilities if number // 32 == half)
        for kind in (0, 1):
            data[3 * half + kind] &= wanted
        data[3 * half + 2] = 0
    system_calls.capset(header, data)


def _last_capability() -> int:
    try:
        return int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    except OSError:
        return 40


def forbid_new_privileges() -> None:
    """No program that this process or its children start gains anything by set-id bits. Landlock and seccomp ask for it."""
    system_calls.prctl(system_calls.PR_SET_NO_NEW_PRIVS, 1)
