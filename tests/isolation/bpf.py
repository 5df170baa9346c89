"""Runs a seccomp program as the kernel does, for the few instructions that ours has. Source: ``linux/bpf_common.h``."""

from __future__ import annotations

import struct

INSTRUCTION = struct.Struct("=HBBI")
DATA = struct.Struct("=iIQ6Q")
"""``struct seccomp_data``: number, architecture, instruction pointer and six arguments."""


class Invalid(Exception):
    """The kernel would not take this program."""


def run(program: bytes, number: int, architecture: int, arguments: tuple[int, ...]) -> int:
    """Return what the program answers to one system call."""
    data = DATA.pack(number, architecture, 0, *arguments)
    instructions = list(INSTRUCTION.iter_unpack(program))
    accumulator = at = 0
    while True:
        if at >= len(instructions):
            raise Invalid("it runs over its end")
        code, if_true, if_false, constant = instructions[at]
        at += 1
        match code:
            case 0x20:
                if constant % 4 or constant > DATA.size - 4:
                    raise Invalid(f"it loads from {constant}")
                (accumulator,) = struct.unpack_from("=I", data, constant)
            case 0x54:
                accumulator &= constant
            case 0x15:
                at += if_true if accumulator == constant else if_false
            case 0x25:
                at += if_true if accumulator > constant else if_false
            case 0x06:
                return int(constant)
            case _:
                raise Invalid(f"instruction {code:#x}")
