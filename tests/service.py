"""A real service for tests: ``engram up``, the entry point of ``./scripts/up``, on a free port with a folder of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx
import psutil

from engine.layout import tenant_folder

ROOT = Path(__file__).parent.parent
MODELS = Path(os.environ.get("ENGRAM_MODELS_DIR") or ROOT / "var" / "models")
START_S = 120.0
_STOP_S = 90.0
"""A little more than `engram up` gives its programs."""


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service:
    """One running node. A context manager."""

    def __init__(self, folder: Path, *, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._given = dict(environment or {})
        self._process: subprocess.Popen[str] | None = None
        self.output = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What the node is started with: nothing of ours but the path, and what the test gave."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        return (
            inherited
            | {
                "ENGRAM_PORT": str(self.port),
                "ENGRAM_DATA_DIR": str(self.folder),
                "ENGRAM_MODELS_DIR": str(MODELS),
                "ENGRAM_SIGNUP_PLAN": "enterprise",
                "ENGRAM_SIGNUPS_PER_MINUTE": "100000",
            }
            | self._given
        )

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Start and wait for nothing: it may never come up."""
        self._spawn()
        try:
            yield
        finally:
            self.stop()

    def _spawn(self) -> None:
        self._process = subprocess.Popen(
            [str(Path(sys.executable).with_name("engram")), "up"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def start(self) -> None:
        """Start and wait until the welcome is printed."""
        self._spawn()
        assert self._process is not None
        assert self._process.stdout is not None
        lines = []
        for line in self._process.stdout:
            lines.append(line)
            if "Ctrl-C stops everything" in line:
                break
        self.output = "".join(lines)
        if "is ready at" not in self.output:
            self.stop()
            raise AssertionError(f"engram up did not come up:\n{self.output}\n{self.log()[-4000:]}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it as a person would and return the exit status."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(number)
        status = self._process.wait(_STOP_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
        return status

    @property
    def pid(self) -> int:
        """Process id of ``engram up``."""
        assert self._process is not None
        return self._process.pid

    def processes(self) -> list[psutil.Process]:
        """Return every process of this node, ``engram up`` first."""
        up = psutil.Process(self.pid)
        return [up, *up.children(recursive=True)]

    def program(self, name: str) -> psutil.Process:
        """Return the process whose command line holds ``name``, such as ``gateway.main`` or ``engram fork-server``."""
        for process in self.processes():
            try:
                if name in " ".join(process.cmdline()):
                    return process
            except psutil.Error:
                continue
        raise LookupError(name)

    def engines(self) -> dict[str, psutil.Process]:
        """Return the running engines by their database's name."""
        found = {}
        for process in self.processes():
            try:
                line = " ".join(process.cmdline()).strip()
            except psutil.Error:
                continue
            if line.startswith("engram engine "):
                found[line.removeprefix("engram engine ").strip()] = process
        return found

    def log(self) -> str:
        """Return what the node's programs have logged."""
        path = self.folder / "log" / "engram.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def tenant_folder(self, account: Account) -> Path:
        """Return the folder that holds all that a customer has stored."""
        return tenant_folder(self.folder, account.database)

    def sign_up(self) -> Account:
        """Sign up someone new."""
        answer = httpx.post(
            f"{self.url}/v1/signup",
            json={"email": f"{uuid4().hex}@example.com", "password": "correct horse", "organization": "Test"},
            timeout=30,
        )
        assert answer.status_code == 201, answer.text
        body = answer.json()
        return Account(self.url, body["api_key"], body["database"])


class Account(httpx.Client):
    """A signed-up customer: an HTTP client that sends its key."""

    def __init__(self, url: str, key: str, database: str) -> None:
        super().__init__(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60)
        self.key = key
        self.database = database

    def create(self, content: str, **fields: Any) -> dict[str, Any]:
        """Store a memory and return it."""
        answer = self.post("/v1/memories", json={"content": content, **fields})
        assert answer.status_code == 201, answer.text
        memory: dict[str, Any] = answer.json()
        return memory

    def search(self, query: str, **fields: Any) -> list[dict[str, Any]]:
        """Search and return the hits."""
        answer = self.post("/v1/search", json={"query": query, **fields})
        assert answer.status_code == 200, answer.text
        hits: list[dict[str, Any]] = answer.json()["results"]
        return hits

    def wait_for_embeddings(self, seconds: float = 240) -> None:
        """Return when no text is pending."""
        wait_until(lambda: self.get("/v1/stats").json().get("pending_embeddings") == 0, seconds)


def wait_until(condition: Any, seconds: float = 30) -> None:
    """Wait for a condition; fail only when it has not come true for far longer than it can take."""
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {seconds} s"
        time.sleep(0.05)
