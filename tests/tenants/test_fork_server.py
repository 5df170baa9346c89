"""What the fork server must be before it forks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tenants.conftest import Node


@pytest.fixture
def fork_server(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    node.start("engine.fork_server")
    yield node
    node.close()


def test_it_has_one_thread_although_numpy_is_loaded(fork_server: Node) -> None:
    pid = fork_server.pid("engine.fork_server")

    assert "_multiarray_umath" in Path(f"/proc/{pid}/maps").read_text()
    assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1


def test_it_does_not_start_with_a_second_thread(tmp_path: Path) -> None:
    script = (
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "from engine.fork_server import serve; serve({'ENGRAM_DATA_DIR': '.'})"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert outcome.returncode == 1
    assert "there are 2 threads before the first fork" in outcome.stderr
