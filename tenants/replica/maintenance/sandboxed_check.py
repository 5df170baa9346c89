"""Has a restored database checked in a process that confines itself: whoever opens a stranger's file may be taken over by it.

The process gets nothing of our environment, which has the store's credentials in it, and works when nobody else does.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import msgspec

from engine.catalogue.lifecycle import CheckReport
from engine.catalogue.recovery import STAGED_DATABASE

_REPORT_BYTES_MAX = 4 * 2**20
"""A thousand findings of two thousand characters, and more than half as much again for how they are written."""

_SECONDS = 300.0
"""That any check may take. What it opens is a stranger's, who would keep it for ever, and it is others' turn after it."""

_BYTES_A_SECOND = 14e6
"""That are checked at least: 50 GB, the largest plan's, in an hour."""

_END_S = 10.0
"""From its last word to its end."""


class CouldNotCheck(Exception):
    """There is no verdict."""


def check_folder(folder: Path) -> CheckReport:
    """Return what is wrong with ``memory.db`` in ``folder``, which is ours alone; ``CouldNotCheck``. It may take an hour."""
    database = folder / STAGED_DATABASE
    seconds = seconds_for(database.stat().st_size if database.exists() else 0)
    process = subprocess.Popen(  # noqa: S603
        [*_politely(), sys.executable, "-P", "-m", "engine.check", str(folder)],
        env={"PATH": "/usr/bin:/bin", "PYTHONUTF8": "1", "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    assert process.stdout is not None
    overdue = threading.Timer(seconds, process.kill)
    overdue.start()
    try:
        report = process.stdout.read(_REPORT_BYTES_MAX + 1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S if len(report) <= _REPORT_BYTES_MAX else 0)
    finally:
        overdue.cancel()
        process.kill()
        process.stdout.close()
        status = process.wait()
    try:
        if len(report) > _REPORT_BYTES_MAX:
            raise CouldNotCheck("the check says too much")
        return msgspec.json.decode(report.splitlines()[-1] if report else b"", type=CheckReport)
    except ValueError as error:
        raise CouldNotCheck(f"the check ended with status {status} and no report") from error


def seconds_for(database_bytes: int) -> float:
    """Return how long the check of a database of this size may take. Pure."""
    return _SECONDS + database_bytes / _BYTES_A_SECOND


def _politely() -> list[str]:
    """Return what has a command wait for everybody else, for processors and, where it is known how, for the disk."""
    ionice = shutil.which("ionice")
    return [*((ionice, "-c", "3") if ionice else ()), "nice", "-n", "19"]
