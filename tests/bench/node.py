"""The service that is measured: a real node with the model, in a temporary folder, without limits on rate."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.service import MODELS, Service, wait_until

_ENGINES = re.compile(r"^engram_engines (\S+)$", re.MULTILINE)


@contextmanager
def running(**settings: str) -> Iterator[Service]:
    """Yield a running node with these settings beside a test's. SIGTERM ends the measurement and the node."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    prepare = [sys.executable, "-m", "engine.embedder.prepare", "--models-dir", str(MODELS)]
    subprocess.run(prepare, check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory(prefix="engram-bench-") as folder, Service(Path(folder), environment=settings) as service:
        yield service


def engines(service: Service) -> int:
    """Return how many engines the host knows."""
    found = _ENGINES.search(httpx.get(f"{service.url}/metrics", timeout=30).text)
    assert found is not None
    return int(float(found[1]))


def wait_until_all_sleep(service: Service, seconds: float = 120) -> None:
    """Return when no engine runs."""
    wait_until(lambda: engines(service) == 0, seconds)
