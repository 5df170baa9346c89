"""The seccomp program says what the list says: for every number and any arguments, on both architectures."""

from __future__ import annotations

import errno
import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sandbox import seccomp, system_calls
from engine.sandbox.allowed_calls import ALLOWED, NOT_THERE, Condition, Masked, OneOf, Zero
from engine.sandbox.system_calls import Architecture
from tests.isolation import bpf

ALLOW, REFUSE, UNKNOWN, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS, 0x80000000

X86_64 = Architecture(0xC000003E, system_calls._numbers(system_calls._X86_64), foreign_bit=0x40000000)
AARCH64 = Architecture(0xC00000B7, system_calls._numbers(system_calls._AARCH64))
ARCHITECTURES = {"x86_64": X86_64, "aarch64": AARCH64}
PROGRAMS = {name: seccomp.compile_filter(architecture) for name, architecture in ARCHITECTURES.items()}


def spoken_of(condition: Condition) -> set[int]:
    """The numbers that a condition speaks of."""
    match condition:
        case Masked(_, mask, value):
            return {mask, value, mask & ~value, ~mask & 0xFFFFFFFF}
        case OneOf(_, values):
            return {*values, *(value + 1 for value in values)}
        case Zero():
            return {0, 1, 2**32}


SPOKEN_OF = set().union(*(spoken_of(each) for conditions in ALLOWED.values() for each in conditions))
ARGUMENT = st.integers(0, 2**64 - 1) | st.sampled_from(sorted({0, 2**32 - 1, 2**64 - 1} | SPOKEN_OF))
ARGUMENTS = st.tuples(*[ARGUMENT] * 6)


def holds(condition: Condition, arguments: tuple[int, ...]) -> bool:
    """What a condition means."""
    match condition:
        case Masked(argument, mask, value):
            return arguments[argument] & 0xFFFFFFFF & mask == value
        case OneOf(argument, values):
            return arguments[argument] & 0xFFFFFFFF in values
        case Zero(argument):
            return arguments[argument] == 0


def meaning(architecture: Architecture, number: int, arguments: tuple[int, ...]) -> int:
    """What the list says of a system call."""
    if not 0 <= number <= system_calls.NUMBER_MAX:
        return REFUSE if architecture.foreign_bit and number % 2**32 >= architecture.foreign_bit else UNKNOWN
    names = [name for name, its in architecture.numbers.items() if its == number]
    if any(name in NOT_THERE for name in names):
        return UNKNOWN
    allowed = any(name in ALLOWED and all(holds(each, arguments) for each in ALLOWED[name]) for name in names)
    return ALLOW if allowed else REFUSE


@pytest.mark.parametrize("name", ARCHITECTURES)
@given(number=st.one_of(st.integers(0, 500), st.integers(-(2**31), 2**31 - 1)), arguments=ARGUMENTS)
def test_the_program_says_what_the_list_says(name: str, number: int, arguments: tuple[int, ...]) -> None:
    architecture = ARCHITECTURES[name]

    assert bpf.run(PROGRAMS[name], number, architecture.audit, arguments) == meaning(architecture, number, arguments)


@pytest.mark.parametrize("name", ARCHITECTURES)
@given(data=st.data())
def test_conditional_calls_are_allowed_under_their_conditions_alone(name: str, data: st.DataObject) -> None:
    """Arguments are drawn from what the conditions speak of, so that they are often met."""
    architecture = ARCHITECTURES[name]
    call = data.draw(
        st.sampled_from(sorted(call for call, conditions in ALLOWED.items() if conditions and call in architecture.numbers))
    )
    number, arguments = architecture.numbers[call], data.draw(ARGUMENTS)
    expected = ALLOW if all(holds(each, arguments) for each in ALLOWED[call]) else REFUSE

    assert bpf.run(PROGRAMS[name], number, architecture.audit, arguments) == expected


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_number_is_decided_as_the_list_says(name: str) -> None:
    architecture = ARCHITECTURES[name]
    for number in range(1024):
        assert bpf.run(PROGRAMS[name], number, architecture.audit, (0,) * 6) == meaning(architecture, number, (0,) * 6)


@pytest.mark.parametrize("name", ARCHITECTURES)
@given(audit=st.integers(0, 2**32 - 1), number=st.integers(0, 500))
def test_another_architectures_call_ends_the_process(name: str, audit: int, number: int) -> None:
    if audit != ARCHITECTURES[name].audit:
        assert bpf.run(PROGRAMS[name], number, audit, (0,) * 6) == KILL


@given(number=st.integers(0, 511))
def test_x32_numbers_are_refused(number: int) -> None:
    assert bpf.run(PROGRAMS["x86_64"], 0x40000000 | number, X86_64.audit, (0,) * 6) == REFUSE


@pytest.mark.parametrize(("name", "arguments"), [
    ("mmap", (0, 4096, mmap.PROT_READ | mmap.PROT_EXEC, 2, 3, 0)),
    ("mmap", (0, 4096, mmap.PROT_EXEC | 2**40, 2, 3, 0)),
    ("mprotect", (0, 4096, mmap.PROT_WRITE | mmap.PROT_EXEC, 0, 0, 0)),
    ("clone", (0x11, 0, 0, 0, 0, 0)),
    ("clone", (0x10011 | 0x10000000, 0, 0, 0, 0, 0)),
    ("prlimit64", (0, 9, 4096, 0, 0, 0)),
    ("prlimit64", (1, 9, 0, 4096, 0, 0)),
    ("prlimit64", (2**32, 9, 0, 4096, 0, 0)),
    ("fchmod", (3, 0o4755, 0, 0, 0, 0)),
    ("ioctl", (0, 0x5412, 0, 0, 0, 0)),
])  # fmt: skip
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_conditions_are_there_for_is_refused(architecture: str, name: str, arguments: tuple[int, ...]) -> None:
    number = ARCHITECTURES[architecture].numbers[name]

    assert bpf.run(PROGRAMS[architecture], number, ARCHITECTURES[architecture].audit, arguments) == REFUSE


@pytest.mark.parametrize(
    "name", ["socket", "connect", "execve", "kill", "ptrace", "setuid", "unshare", "mount", "bpf", "keyctl"]
)
def test_what_is_not_on_the_list_is_not_named_by_it(name: str) -> None:
    assert name not in ALLOWED


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_kernel_would_take_the_program(name: str) -> None:
    """Every jump lands within it, every path ends in an answer, and it is no longer than the kernel allows."""
    instructions = list(bpf.INSTRUCTION.iter_unpack(PROGRAMS[name]))
    answers = {constant for code, _, _, constant in instructions if code == 0x06}

    assert len(instructions) <= 4096
    assert answers == {ALLOW, REFUSE, UNKNOWN, KILL}
    assert instructions[-1] == (0x06, 0, 0, REFUSE)
    for at, (code, if_true, if_false, _) in enumerate(instructions):
        if code in (0x15, 0x25):
            assert at + 1 + max(if_true, if_false) < len(instructions)


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_every_call_of_the_list_has_a_number_somewhere(architecture: Architecture) -> None:
    """A misspelt name would be left out in silence: it would be refused, and nobody would know why."""
    assert [name for name in {*ALLOWED, *NOT_THERE} if name not in {**X86_64.numbers, **AARCH64.numbers}] == []
    assert len(set(architecture.numbers.values())) == len(architecture.numbers)


def test_a_program_that_is_too_long_is_not_made() -> None:
    endless = {"read": (OneOf(0, tuple(range(5000))),)}
    with pytest.raises(ValueError, match="too long"):
        seccomp.compile_filter(X86_64, endless)
