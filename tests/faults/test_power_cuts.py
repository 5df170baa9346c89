"""The power fails at any moment of a database's work: what was acknowledged is there, and nothing is half done.

The simulated disk (``power_disk``) may keep, lose or tear whatever was not synced. Two controls show that it does: a disk that
only pretends to sync, and SQLite told to sync less than we have it do, must lose what was acknowledged.
``./scripts/soak power`` makes many more cuts, each time others.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from typing import Any

import pytest

from tests.service import ROOT

SOAK_CUTS = int(os.environ.get("ENGRAM_SOAK_POWER_CUTS", "0"))
CUTS = SOAK_CUTS or 300
CONTROL_CUTS = 80
"""Of which a third or more lose something."""

BROKEN = ("lost", "half", "refused", "unsound", "traces", "history")

pytestmark = pytest.mark.timeout(0 if SOAK_CUTS else 300)


def cut(kind: str, cuts: int, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Make one run, in a process of its own: its VFS must be there before ours is laid over it."""
    seed = secrets.randbits(32) if SOAK_CUTS else 1
    command = [sys.executable, "-m", "tests.faults.power_cuts", "--kind", kind, "--cuts", str(cuts), "--seed", str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with capsys.disabled() if SOAK_CUTS else contextlib.nullcontext():
        print(done.stdout)
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def test_a_power_cut_loses_nothing_that_was_acknowledged(capsys: pytest.CaptureFixture[str]) -> None:
    report = cut("honest", CUTS, capsys)

    assert report["cuts"] == CUTS
    assert report["ahead"] > 0  # some cuts came between a commit and its acknowledgement
    assert {kind: report[kind] for kind in BROKEN if kind in report} == {}, report["first"]


@pytest.mark.parametrize("kind", ["lying", "normal"])
def test_the_controls_lose_something(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = cut(kind, CONTROL_CUTS, capsys)

    assert report.get("lost", 0) > 0
