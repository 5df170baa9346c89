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


@contextmanager
def running(**settings: str) -> Iterator[Service]:
    """Yield a running node with these settings beside a test's. SIGTERM ends the measurement and the node."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    prepare = [sys.executable, "-m", "engine.embedder.prepare", "--models-dir", str(MODELS)]
    subprocess.run(prepare, check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory(prefix="engram-bench-") as folder, Service(Path(folder), environment=settings) as service:
        yield service


def metric(service: Service, name: str) -> int:
    """Return a figure that the node tells of itself."""
    found = re.search(rf"^{name} (\S+)$", httpx.get(f"{service.url}/metrics", timeout=30).text, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


def wait_until_all_sleep(service: Service, seconds: float = 120) -> None:
    """Return when no engine runs."""
    wait_until(lambda: metric(service, "engram_engines") == 0, seconds)
