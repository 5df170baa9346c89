"""What a process holds of the machine's memory, as the kernel counts it. Root may ask of anybody's, others of their own.

Private (USS) is what ending the process would give back; proportional (PSS) adds its part of the pages that it shares, so that
the sum over all processes counts each page once. Source: ``proc_pid_smaps(5)``.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.service import ROOT

_FRESH = (
    "import engine.fork_server; from engine.store.connection import preload; preload(); print('loaded', flush=True); input()"
)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Of one process, in KiB."""

    private: int
    pss: int


def of(pid: int) -> Memory:
    """Return the kernel's sums over a process's mappings."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    found = {name.rstrip(":"): int(kib) for name, kib, _ in map(str.split, lines)}
    return Memory(private=found["Private_Clean"] + found["Private_Dirty"], pss=found["Pss"])


def of_fresh_interpreter() -> Memory:
    """Return what an interpreter holds that was started for itself and has imported and loaded what an engine has."""
    with subprocess.Popen([sys.executable, "-c", _FRESH], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"loaded\n"
        measured = of(process.pid)
        process.communicate(b"\n")
    return measured
