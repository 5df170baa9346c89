"""A node whose disk is full goes on: even its log can't be written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import wait_until

pytestmark = pytest.mark.acceptance

CONFIGURATION = """
[supervisord]
nodaemon = true
silent = true
logfile = /dev/full
logfile_maxbytes = 0
pidfile = {folder}/supervisord.pid

[program:talkative]
command = sh -c 'while :; do echo a line for the log; echo >> {folder}/beats; sleep 0.05; done'
redirect_stderr = true
stdout_logfile = /dev/fd/1
stdout_logfile_maxbytes = 0
"""


def test_the_supervisor_lives_on_when_nothing_can_be_written(tmp_path: Path) -> None:
    """``/dev/full`` is a disk without room for anybody."""
    configuration = tmp_path / "supervisord.conf"
    configuration.write_text(CONFIGURATION.format(folder=tmp_path))
    beats = tmp_path / "beats"
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-P", "-m", "gateway.supervision", "-n", "-c", str(configuration)]
        supervisor = subprocess.Popen(command, stdout=full, stderr=full)
        try:
            wait_until(lambda: supervisor.poll() is not None or (beats.exists() and beats.stat().st_size >= 20))

            assert supervisor.poll() is None
        finally:
            supervisor.terminate()
            supervisor.wait(30)
