"""Time of the first ``./scripts/up`` in a fresh clone of the last commit, and of the second."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.bench import table
from tests.service import ROOT, free_port

_WAIT_S = 60


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="scripts/bench up", description=__doc__)
    options.add_argument("--cold", action="store_true", help="with an empty uv cache: everything is downloaded")
    given = options.parse_args()
    print(table.machine())
    with tempfile.TemporaryDirectory(prefix="engram-up-") as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], check=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("ENGRAM_", "VIRTUAL_ENV"))}
        environment["ENGRAM_PORT"] = str(free_port())
        if given.cold:
            environment["UV_CACHE_DIR"] = str(Path(folder, "cache"))
        times = [_up(clone, environment) for _ in range(2)]
        commit = _said("git", "-C", str(clone), "log", "-1", "--format=%h %s")
    cache = "empty" if given.cold else "as it is on this machine"
    print(f"Commit {commit}. The uv cache is {cache}; the clone has no environment, no model and no data.")
    first, second = times
    rows = [
        ("first", f"{first[0]:.1f}", f"{first[1]:.1f}", "1.00"),
        ("second", f"{second[0]:.1f}", f"{second[1]:.1f}", f"{second[0] / first[0]:.2f}"),
    ]
    table.show("./scripts/up", ("", "s until ready", "s to stop", "ready / first"), rows)


def _up(clone: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Start, wait for the welcome and stop; return the seconds until ready and the seconds to stop."""
    began = time.perf_counter()
    with subprocess.Popen(
        [clone / "scripts" / "up"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "is ready at" in line:
                break
        ready_s = time.perf_counter() - began
        began = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        lines += process.stdout.readlines()
        status = process.wait(_WAIT_S)
    if status != 0 or not any("is ready at" in line for line in lines):
        raise SystemExit(f"./scripts/up ended with {status}:\n{''.join(lines)}")
    return ready_s, time.perf_counter() - began


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
