"""What tests of the engine share: its extensions, loaded once, and an open database of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.store.connection import preload
from engine.store.database import Database

START = 1_790_000_000_000_000


class Clock:
    """A clock that stands still until it is moved: microseconds since 1970."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


@pytest.fixture(autouse=True, scope="session")
def _extensions() -> None:
    preload()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "memory.db") as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()
