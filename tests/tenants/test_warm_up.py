"""What the fork server does once for all its engines before it forks, and that nothing stays of it."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

_PREPARE = """
import os, resource
from pathlib import Path
from engine import heap, log
from engine.store.connection import preload
from engine.warm_up import rehearse
log.configure("test")
preload()
"""


def _run(script: str, folder: Path) -> tuple[list[dict[str, object]], str]:
    """Run a process of its own in ``folder``; return its log and the last line it printed."""
    outcome = subprocess.run(
        [sys.executable, "-P", "-c", _PREPARE + script],
        env={"TMPDIR": str(folder), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *lines, last = outcome.stdout.splitlines()
    return [msgspec.json.decode(line) for line in lines], last


def test_a_rehearsal_serves_and_leaves_nothing_behind(tmp_path: Path) -> None:
    script = """
def held():
    return sorted(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), os.listdir(os.environ["TMPDIR"])
before = held()
rehearse()
print(held() == before and before[1:] == (1, []))
"""
    log, left_nothing = _run(script, tmp_path)

    assert [line["event"] for line in log] == ["engine_started", "engine_stopped"]
    assert {line["tenant"] for line in log} == {"rehearsal"}
    assert left_nothing == "True"


def test_a_rehearsal_that_fails_says_so_and_stops_nobody(tmp_path: Path) -> None:
    script = """
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
rehearse()
print(os.listdir(os.environ["TMPDIR"]))
"""
    log, left = _run(script, tmp_path)

    assert log[-1]["event"] == "rehearsal_failed"
    assert left == "[]"


def test_a_signal_to_end_is_not_lost_in_a_rehearsal(tmp_path: Path) -> None:
    script = _PREPARE + "print('prepared', flush=True)\nwhile True: rehearse()"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", script],
        env={"TMPDIR": str(tmp_path), "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"prepared\n"
        assert b"engine_started" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)

        process.communicate(timeout=60)

    assert process.returncode == -signal.SIGTERM


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="only glibc tells what its heap looks like")
def test_a_settled_heap_has_no_holes(tmp_path: Path) -> None:
    _, holes = _run("before = heap.bytes_in_holes()\nheap.settle()\nprint(before, heap.bytes_in_holes())", tmp_path)
    before, after = map(int, holes.split())

    assert after < before // 10
