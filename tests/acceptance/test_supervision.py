"""No program outlives the supervisor, not even one that was still starting when it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = ("engine.fork_server", "engine.embedder.main", "tenants.host.main", "tenants.replica.main", "gateway.main")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_whose_supervisor_is_not_its_parent_any_more_ends(program: str, tmp_path: Path) -> None:
    (tmp_path / "run" / "engines").mkdir(parents=True)
    environment = {"PATH": os.environ["PATH"], "ENGRAM_DATA_DIR": str(tmp_path), "OPENBLAS_NUM_THREADS": "1"}
    gone = str(os.getppid())  # somebody else's process, as far as the program can tell

    outcome = subprocess.run(
        [sys.executable, "-P", "-m", program],
        env=environment | {"ENGRAM_SUPERVISOR": gone},
        capture_output=True,
        timeout=120,
        check=False,
    )

    assert outcome.returncode == -signal.SIGTERM, outcome.stderr.decode()
    assert list(tmp_path.glob("run/*.sock")) == []
