"""A clock that tests set while programs run, and a node whose programs go by it.

All of our code reads the wall clock through ``time.time`` and ``time.time_ns``: ``clock_site`` puts the step between.
libfaketime would do so below Python, but an engine in its sandbox has neither its environment nor the file with the step.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from tests.service import Account, free_port, wait_until
from tests.tenants.conftest import Node

HOUR = timedelta(hours=1)


class StepClock:
    """How far the programs' clock is from this machine's: nothing, at first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ahead = timedelta()
        path.write_bytes(bytes(8))

    def step(self, by: timedelta) -> None:
        """Set the clock forward, or back."""
        self.ahead += by
        with self.path.open("r+b") as file:
            file.write(struct.pack("<q", self.ahead // timedelta(microseconds=1) * 1000))

    def now(self) -> datetime:
        """Return what the programs' clock says."""
        return datetime.fromtimestamp(time.time(), tz=UTC) + self.ahead


class ClockNode(Node):
    """Fork server and host, and a gateway if asked for, by a clock of the test's."""

    def __init__(self, folder: Path, *, idle_s: float = 300) -> None:
        super().__init__(folder, idle_s=idle_s)
        self.clock = StepClock(folder / "clock")
        self.environment |= {
            "PYTHONPATH": str(Path(__file__).with_name("clock_site")),
            "ENGRAM_TEST_CLOCK": str(self.clock.path),
        }

    def start_gateway(self) -> str:
        """Start a gateway without an embedder: what is stored stays pending. Return its address."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with (self.folder / "log").open("ab") as log:
            self._processes["gateway.main"] = subprocess.Popen(
                [sys.executable, "-P", "-m", "gateway.main"],
                env=self.environment
                | {"ENGRAM_PORT": str(port), "ENGRAM_SIGNUPS_PER_MINUTE": "1000", "ENGRAM_REPLICA_URL": "off"},
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: _answers(url))
        return url


def sign_up(url: str, name: str) -> Account:
    """Sign up someone new."""
    body = {"email": f"{name}@example.com", "password": "correct horse", "organization": "Test"}
    answer = httpx.post(f"{url}/v1/signup", json=body, timeout=30)
    assert answer.status_code == 201, answer.text
    account = answer.json()
    return Account(url, account["api_key"], account["database"])


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False
