"""Seccomp: a program in the kernel that looks at each system call of this process and refuses what is not allowed.

The program is put together once, in the fork server, and installed in each engine. Calls without conditions cost nothing: the
kernel remembers that they are allowed. Source: ``Documentation/userspace-api/seccomp_filter.rst`` and ``linux/bpf_common.h``.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable, Mapping

from engine.sandbox import system_calls
from engine.sandbox.allowed_calls import ALLOWED, NOT_THERE, Condition, Masked, OneOf, Zero
from engine.sandbox.system_calls import Architecture

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_GREATER = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

_RET_ALLOW = 0x7FFF0000
_RET_ERRNO = 0x00050000
_RET_KILL_PROCESS = 0x80000000

_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
"""In ``struct seccomp_data``. Both architectures are little-endian: an argument's lower half comes first."""

_INSTRUCTIONS_MAX = 4096
"""``BPF_MAXINSNS``."""

_Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, constant: ``struct sock_filter``."""

_REFUSE: _Instruction = (_RETURN, 0, 0, _RET_ERRNO | errno.EPERM)
_UNKNOWN: _Instruction = (_RETURN, 0, 0, _RET_ERRNO | errno.ENOSYS)
_ALLOW: _Instruction = (_RETURN, 0, 0, _RET_ALLOW)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def compile_filter(
    architecture: Architecture,
    allowed: Mapping[str, tuple[Condition, ...]] = ALLOWED,
    not_there: Iterable[str] = NOT_THERE,
) -> bytes:
    """Return the program that allows ``allowed``, in the kernel's own form. Names that an architecture lacks are left out.

    What is refused fails with EPERM, what is younger than our list with ENOSYS, as a kernel without it would say: libraries
    then do it the older way.
    """
    numbers = architecture.numbers
    program: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_OFFSET),
        (_IF_EQUAL, 1, 0, architecture.audit),
        (_RETURN, 0, 0, _RET_KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
    ]
    if architecture.foreign_bit:
        program += [(_IF_GREATER, 0, 1, architecture.foreign_bit - 1), _REFUSE]
    program += [(_IF_GREATER, 0, 1, system_calls.NUMBER_MAX), _UNKNOWN]
    # Calls with conditions come first: the program runs for them alone, once the kernel has seen that it allows the others.
    for name, conditions in sorted(allowed.items(), key=lambda entry: not entry[1]):
        if name in numbers:
            body = _checks(conditions)
            program += [(_IF_EQUAL, 0, len(body), numbers[name]), *body]
    for name in not_there:
        program += [(_IF_EQUAL, 0, 1, numbers[name]), _UNKNOWN]
    program.append(_REFUSE)
    if len(program) > _INSTRUCTIONS_MAX:
        raise ValueError(f"a filter of {len(program)} instructions is too long")
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def install(program: bytes) -> None:
    """Bind this process to ``program`` for good. It must have given up new privileges."""
    attr = _Program(len(program) // 8, program)
    system_calls.prctl(system_calls.PR_SET_SECCOMP, system_calls.SECCOMP_MODE_FILTER, ctypes.addressof(attr))


def _checks(conditions: tuple[Condition, ...]) -> list[_Instruction]:
    """Return instructions that end in allowing the call if all conditions hold, and in refusing it otherwise."""
    checks: list[_Instruction] = []
    for condition in conditions:
        lower = _ARGUMENTS_OFFSET + 8 * condition.argument
        match condition:
            case Masked():
                checks += [(_LOAD, 0, 0, lower), (_AND, 0, 0, condition.mask), (_IF_EQUAL, 1, 0, condition.value), _REFUSE]
            case OneOf():
                count = len(condition.values)
                checks.append((_LOAD, 0, 0, lower))
                checks += [(_IF_EQUAL, count - index, 0, value) for index, value in enumerate(condition.values)]
                checks.append(_REFUSE)
            case Zero():
                checks += [(_LOAD, 0, 0, lower), (_IF_EQUAL, 1, 0, 0), _REFUSE]
                checks += [(_LOAD, 0, 0, lower + 4), (_IF_EQUAL, 1, 0, 0), _REFUSE]
    return [*checks, _ALLOW]
