"""Runs wrk, and reads what it has measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_SCRIPT = Path(__file__).with_name("requests.lua")


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is asked, over and over."""

    name: str
    url: str
    path: str
    method: str = "GET"
    body: str = "none"
    mode: str = "auto"
    key: str = "none"
    ids: int = 1


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One run, or the median of several."""

    per_second: float
    p50_ms: float
    p99_ms: float


class WrkFailed(Exception):
    """The run can't be used; the message says why."""


def run(target: Target, *, seconds: float, connections: int, label: str) -> Speed:
    """Ask ``target`` for so long. ``WrkFailed`` if one answer was no success."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise WrkFailed("wrk is not installed (Debian: apt-get install wrk)")
    command = [wrk, "--threads", "1", "--connections", str(connections), "--duration", f"{seconds:g}s", "--timeout", "30s"]
    environment = {
        "PATH": os.environ["PATH"],
        "BENCH_METHOD": target.method,
        "BENCH_PATH": target.path,
        "BENCH_BODY": target.body,
        "BENCH_MODE": target.mode,
        "BENCH_KEY": target.key,
        "BENCH_IDS": str(target.ids),
        "BENCH_RUN": label,
    }
    done = subprocess.run(
        [*command, "--script", _SCRIPT, target.url], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise WrkFailed(done.stderr.strip())
    measured = json.loads(done.stdout.strip().splitlines()[-1])
    if measured["failed"] or not measured["requests"]:
        raise WrkFailed(f"{target.name}: {measured['failed']} of {measured['requests']} requests failed")
    return Speed(per_second=measured["requests"] / measured["seconds"], p50_ms=measured["p50_ms"], p99_ms=measured["p99_ms"])


def middle(runs: Sequence[Speed]) -> Speed:
    """Return the medians of several runs."""
    return Speed(
        per_second=median(one.per_second for one in runs),
        p50_ms=median(one.p50_ms for one in runs),
        p99_ms=median(one.p99_ms for one in runs),
    )
