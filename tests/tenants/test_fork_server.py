"""What the fork server must be before it forks."""

from __future__ import annotations

import os
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


@pytest.mark.skipif(os.geteuid() != 0, reason="control groups are root's to make")
def test_it_leaves_no_control_group_behind(fork_server: Node) -> None:
    groups = [
        line.rpartition(":")[2].rpartition("/")[2]
        for line in Path(f"/proc/{fork_server.pid('engine.fork_server')}/cgroup").read_text().splitlines()
    ]
    (name,) = {group for group in groups if group.startswith("engram-")} or {None}
    if name is None:
        pytest.skip("this machine lets nobody make one")
    found = [Path(folder) for folder, _, _ in os.walk("/sys/fs/cgroup") if folder.endswith(name)]
    assert found

    assert fork_server.stop("engine.fork_server") == 0
    assert [folder for folder in found if folder.exists()] == []
