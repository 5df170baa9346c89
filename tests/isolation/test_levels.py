"""How much isolation there is, found out by trial and said as it is; and that less than asked for is not accepted."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from engine.protocol.processes import Isolation
from engine.sandbox import system_calls
from engine.sandbox.confinement import LAYERS
from tests.service import ROOT

NOBODY = 65534

AS_NOBODY = f"""
import os
from engine.sandbox.system_calls import prctl
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
prctl(4, 1)  # dumpable, as a process is that was started by its user: its own files in /proc belong to it
"""
WARMED_UP = "find_out(own_users=False)"
"""What is imported late is imported by root, whose home Python may live in."""

FIND_OUT = "sys.stdout.buffer.write(msgspec.json.encode(find_out(own_users=service_of(None) is not None)[1]))"


def told(*statements: str) -> Isolation:
    """Return what a process of ours finds out after these statements."""
    lines = ["import os, sys, msgspec", "from engine.sandbox import find_out", "from engine.sandbox.users import service_of"]
    outcome = subprocess.run(
        [sys.executable, "-c", "\n".join([*lines, *statements, FIND_OUT])], cwd=ROOT, capture_output=True, check=True
    )
    return msgspec.json.decode(outcome.stdout, type=Isolation)


def without(number: int, code: int) -> str:
    """Return a statement that has the kernel answer one system call as a kernel does that lacks it."""
    program = [
        (0x20, 0, 0, 0),
        (0x15, 0, 1, number),
        (0x06, 0, 0, 0x00050000 | code),
        (0x06, 0, 0, 0x7FFF0000),
    ]
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    return f"from engine.sandbox import privileges, seccomp; privileges.forbid_new_privileges(); seccomp.install({packed!r})"


@pytest.mark.usefixtures("as_root")
def test_root_has_the_whole_box() -> None:
    outcome = subprocess.run([sys.executable, "-m", "engine.sandbox"], cwd=ROOT, capture_output=True, check=True)

    assert msgspec.json.decode(outcome.stdout, type=Isolation) == Isolation("full", dict.fromkeys(LAYERS, ""))


@pytest.mark.usefixtures("as_root")
def test_an_ordinary_user_has_all_but_users() -> None:
    isolation = told(WARMED_UP, AS_NOBODY)

    assert isolation.level == "partial"
    assert isolation.layers["user"] == "only root gives users of their own"
    assert isolation.layers["landlock"] == isolation.layers["seccomp"] == isolation.layers["limits"] == ""


@pytest.mark.parametrize(("code", "kernel"), [(errno.ENOSYS, "lacks it"), (errno.EOPNOTSUPP, "has it switched off")])
def test_a_kernel_without_landlock_is_told(code: int, kernel: str) -> None:
    isolation = told(without(system_calls.LANDLOCK_CREATE_RULESET, code))

    assert isolation.level == "process", kernel
    assert isolation.layers["landlock"].endswith(os.strerror(code))
    assert isolation.layers["seccomp"] == isolation.layers["privileges"] == ""


def test_a_container_that_forbids_landlock_is_told() -> None:
    isolation = told(without(system_calls.LANDLOCK_CREATE_RULESET, errno.EPERM))

    assert isolation.level == "process"
    assert isolation.layers["landlock"] != ""


def test_where_users_can_not_be_told_apart_the_level_is_partial() -> None:
    """``setresuid`` without effect, as where all numbers are one: it was applied and does not hold."""
    isolation = told("os.setresuid = lambda *_: None", "os.setresgid = lambda *_: None")

    assert isolation.level == "partial"
    assert isolation.layers["user"] != ""


@pytest.mark.usefixtures("as_root")
def test_the_fork_server_does_not_start_with_less_than_it_is_told(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    script = f"""
from engine import fork_server
fork_server.preload()
fork_server.{WARMED_UP}
{AS_NOBODY}
fork_server.serve(os.environ)
"""
    outcome = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"OPENBLAS_NUM_THREADS": "1", "ENGRAM_DATA_DIR": str(tmp_path), "ENGRAM_ISOLATION": "full"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert outcome.returncode != 0
    assert "TooLittleIsolation: engines would be confined at level partial, not full" in outcome.stderr
    assert not (tmp_path / "run").exists()
