"""Fixtures that every kind of test may use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import MODELS, Account, Service


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder with the prepared embedding model."""
    subprocess.run([sys.executable, "-m", "engine.embedder.prepare", "--models-dir", str(MODELS)], check=True)
    return MODELS


@pytest.fixture(scope="session")
def service(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One node for all tests that only talk to it. Tests that kill or stop something start their own."""
    with Service(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(scope="session")
def service_url(service: Service) -> str:
    """The node's address."""
    return service.url


@pytest.fixture
def account(service: Service) -> Iterator[Account]:
    """A new customer."""
    with service.sign_up() as client:
        yield client


@pytest.fixture
def other_account(service: Service) -> Iterator[Account]:
    """Another new customer."""
    with service.sign_up() as client:
        yield client
