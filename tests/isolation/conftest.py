"""What the tests of the box share: a node without a gateway."""

from __future__ import annotations

import os

import pytest

from tests.tenants.conftest import fork_server, node

__all__ = ["fork_server", "node"]


@pytest.fixture
def as_root() -> None:
    """Only root gives engines users of their own."""
    if os.geteuid() != 0:
        pytest.skip("only root gives engines users of their own")
