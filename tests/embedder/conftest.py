"""The real model, prepared once, and the real process at a real socket."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from engine.embedder.client import EmbedderClient
from engine.embedder.messages import EmbedderStatus
from engine.embedder.model import Model
from engine.embedder.prepare import prepare
from engine.embedder.settings import DEFAULT_MODEL, FLOAT_MODEL
from engine.protocol import RemoteError

REPOSITORY = Path(__file__).parents[2]
PATIENCE_S = 120
"""A bound against hanging, not an expectation: nothing in these tests passes or fails by the clock."""


@pytest.fixture(scope="session")
def models_dir() -> Path:
    folder = REPOSITORY / "var" / "models"
    prepare(folder, print)
    return folder


@pytest.fixture(scope="session")
def float_model(models_dir: Path) -> None:
    """Have the other prepared model there too."""
    prepare(models_dir, print, FLOAT_MODEL)


@pytest.fixture(scope="session")
def model(models_dir: Path) -> Model:
    return Model.load(DEFAULT_MODEL, models_dir)


class Process:
    """One embedding process with a data folder of its own."""

    def __init__(self, data_dir: Path, models_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self.socket = data_dir / "run" / "embed.sock"
        self.log = data_dir / "log"
        environment = os.environ | {"ENGRAM_DATA_DIR": str(data_dir), "ENGRAM_MODELS_DIR": str(models_dir)}
        environment.pop("ENGRAM_EMBEDDING_MODEL", None)
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "engine.embedder.main"], env=environment, cwd=REPOSITORY, stdout=log, stderr=log
            )

    def stop(self) -> int:
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(PATIENCE_S)


StartProcess = Callable[[Path], Process]


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[StartProcess]:
    """Start a process that looks for its model in the folder given; all are killed when the test ends."""
    started: list[Process] = []

    def start(models_dir: Path) -> Process:
        started.append(Process(tmp_path / "data", models_dir))
        return started[-1]

    yield start
    for process in started:
        process.popen.kill()
        process.popen.wait()


@pytest.fixture(scope="module")
def process(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A process shared by the tests of a module."""
    started = Process(tmp_path_factory.mktemp("embedder"), models_dir)
    yield started
    started.popen.kill()
    started.popen.wait()


@pytest_asyncio.fixture
async def client(process: Process) -> AsyncIterator[EmbedderClient]:
    async with EmbedderClient(process.socket) as client:
        await until(client, "ready")
        yield client


async def until(client: EmbedderClient, state: str) -> EmbedderStatus:
    """Wait for the process to be in ``state``."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                status = await client.status()
            except RemoteError:
                status = None
            if status is not None and status.state == state:
                return status
            await asyncio.sleep(0.05)
