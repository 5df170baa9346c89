"""Code that was not there before the box was closed: loaded, written, or started as a program."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

from tests.isolation.attack import CATALOGUE, Targets
from tests.isolation.attacks.files import own_folder
from tests.isolation.system import AT_FDCWD, MACHINE, call, numbered

attack = CATALOGUE.family("code")

_PAGE_BYTES = mmap.PAGESIZE
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_SIGCHLD = 17
_AT_EMPTY_PATH = 0x1000

_ANSWER = 42
_RETURNS_ANSWER = {
    "x86_64": bytes.fromhex("b82a000000c3"),  # mov eax, 42; ret
    "aarch64": bytes.fromhex("40058052c0035fd6"),  # mov w0, 42; ret
}.get(MACHINE, b"")
_CALLS_AS_I386 = bytes.fromhex("53b814000000cd805bc3")
"""push rbx; mov eax, 20 (getpid of i386); int 0x80; pop rbx; ret"""
_X32_BIT = 0x40000000


def unloaded_library() -> Path:
    """Return a shared library of Python's own that this process has not loaded."""
    loaded = Path("/proc/self/maps").read_text()
    folder = next(Path(line.split()[-1]).parent for line in loaded.splitlines() if "lib-dynload" in line)
    return min((path for path in folder.glob("*.so") if str(path) not in loaded), key=lambda path: path.stat().st_size)


LIBRARY_BYTES = unloaded_library().read_bytes()
"""Read before the box is closed, to be written inside it."""


def _page_of_code(code: bytes) -> int:
    """Return the address of a page with ``code``, mapped by an attacker's accomplice before the box was closed."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    page = libc.mmap(None, ctypes.c_size_t(_PAGE_BYTES), mmap.PROT_READ | mmap.PROT_WRITE, _PRIVATE, -1, ctypes.c_long(0))
    ctypes.memmove(page, code, len(code))
    libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(_PAGE_BYTES), mmap.PROT_READ | mmap.PROT_EXEC)
    return int(page)


_I386_CALL = _page_of_code(_CALLS_AS_I386) if MACHINE == "x86_64" else 0


@attack()
def load_foreign_library(targets: Targets) -> str:
    """Load a shared library from outside its folder."""
    return f"handle {ctypes.CDLL(targets.library)._handle:#x}"


@attack()
def load_own_library(targets: Targets) -> str:
    """Write a shared library and load it."""
    path = f"{own_folder(targets)}/own-library.so"
    with open(path, "wb") as file:
        file.write(LIBRARY_BYTES)
    return f"handle {ctypes.CDLL(path)._handle:#x}"


@attack()
def run_mapped_bytes(targets: Targets) -> str:
    """Map memory that is writable and executable, and run what it wrote there."""
    everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    return _run(call("mmap", 0, _PAGE_BYTES, everything, _PRIVATE, -1, 0))


@attack()
def run_mapped_file(targets: Targets) -> str:
    """Map a file of its own as code and run it."""
    path = f"{own_folder(targets)}/code"
    with open(path, "wb") as file:
        file.write(_RETURNS_ANSWER.ljust(_PAGE_BYTES, b"\0"))
    descriptor = call("openat", AT_FDCWD, path, os.O_RDONLY, 0)
    page = call("mmap", 0, _PAGE_BYTES, mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, descriptor, 0)
    return _run(page, written=True)


@attack()
def make_memory_executable(targets: Targets) -> str:
    """Write bytes and make their page executable."""
    return _protect("mprotect")


@attack()
def make_memory_executable_with_a_key(targets: Targets) -> str:
    """Write bytes and make their page executable, by pkey_mprotect."""
    return _protect("pkey_mprotect", -1)


def _written(scene: object) -> str:
    path = Path(scene.targets.folder, "outbox", "run")  # type: ignore[attr-defined]
    return f"the program wrote {path.read_text().strip()!r}" if path.exists() else ""


def _script(targets: Targets) -> str:
    return f"echo it ran > {own_folder(targets)}/outbox/run"


@attack(seen=_written)
def become_a_shell(targets: Targets) -> None:
    """Become /bin/sh by execve."""
    call("execve", "/bin/sh", _strings("sh", "-c", _script(targets)), _strings())


@attack(seen=_written)
def become_own_script(targets: Targets) -> None:
    """Write a program into its folder and become it by execve."""
    path = f"{own_folder(targets)}/program"
    with open(path, "w") as file:
        file.write(f"#!/bin/sh\n{_script(targets)}\n")
    call("fchmodat", AT_FDCWD, path, 0o700)
    call("execve", path, _strings(path), _strings())


@attack(seen=_written)
def become_a_file_in_memory(targets: Targets) -> None:
    """Write a program into memory and become it by execveat."""
    descriptor = call("memfd_create", "program", 0)
    os.write(descriptor, f"#!/bin/sh\n{_script(targets)}\n".encode())
    call("execveat", descriptor, "", _strings("program"), _strings(), _AT_EMPTY_PATH)


@attack(seen=_written)
def start_a_program(targets: Targets) -> None:
    """Fork, and run /bin/sh in the child."""
    arguments, environment = _strings("sh", "-c", _script(targets)), _strings()
    pid = call("clone", _SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        try:
            call("execve", "/bin/sh", arguments, environment)
        finally:
            os._exit(1)
    os.waitpid(pid, 0)


@attack()
def call_as_32_bit_program(targets: Targets) -> str:
    """Make a system call by the numbers of 32-bit programs, through a gadget that it is given."""
    if not _I386_CALL:
        raise OSError(38, "only x86_64 has them")
    return _told_own_number(ctypes.CFUNCTYPE(ctypes.c_int)(_I386_CALL)())


@attack()
def call_as_x32_program(targets: Targets) -> str:
    """Make a system call by the numbers of x32 programs."""
    if MACHINE != "x86_64":
        raise OSError(38, "only x86_64 has them")
    return _told_own_number(numbered(_X32_BIT | 39))


def _told_own_number(answer: int) -> str:
    if answer < 0:
        raise OSError(-answer, os.strerror(-answer))
    assert answer == os.getpid()
    return f"it was told its number, {answer}"


def _protect(name: str, *more: int) -> str:
    page = call("mmap", 0, _PAGE_BYTES, mmap.PROT_READ | mmap.PROT_WRITE, _PRIVATE, -1, 0)
    ctypes.memmove(page, _RETURNS_ANSWER, len(_RETURNS_ANSWER))
    call(name, page, _PAGE_BYTES, mmap.PROT_READ | mmap.PROT_EXEC, *more)
    return _run(page, written=True)


def _run(page: int, *, written: bool = False) -> str:
    if not written:
        ctypes.memmove(page, _RETURNS_ANSWER, len(_RETURNS_ANSWER))
    answer = ctypes.CFUNCTYPE(ctypes.c_int)(page)()
    assert answer == _ANSWER
    return f"its code answered {answer}"


def _strings(*strings: str) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * (len(strings) + 1))(*map(os.fsencode, strings), None)
