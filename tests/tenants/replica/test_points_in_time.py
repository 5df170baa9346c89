"""A real database, its real capture, and all that happens to its history: each moment comes back byte for byte.

``ENGRAM_SOAK_POINTS`` says for how many moments.
"""

from __future__ import annotations

import os
import random
from bisect import bisect_right
from pathlib import Path

import pytest

from engine.store.connection import open_reader
from tenants.replica.history.compaction import compact
from tenants.replica.history.rebuild import NothingToRestore, rebuild
from tenants.replica.history.retention import expire
from tenants.replica.history.snapshots import put_snapshot
from tenants.replica.history.timeline import earliest_ms
from tenants.replica.objects import ObjectStore
from tests.tenants.replica.captured import CapturedDatabase, digest, rows_of
from tests.tenants.replica.histories import tree_of

POINTS = int(os.environ.get("ENGRAM_SOAK_POINTS", "60"))

POINTS_IN_ROUND = 20
"""Asked for after as many steps: what is restored early has other files than what is restored late."""

STEPS_IN_ROUND = 45


class World:
    """One database's, as it goes on."""

    def __init__(self, captured: CapturedDatabase, folder: Path, seed: int) -> None:
        self.captured = captured
        self.tree = captured.tree
        self.folder = folder
        self.random = random.Random(seed)
        self.since_ms = 0
        """What is older was given up, as far as that is promised."""

    def step(self) -> None:
        """Let one thing happen, mostly a write."""
        self.captured.write(self.random.choice([1, 1, 2, 5]))
        if self.random.random() < 0.2:
            return  # and another follows before anything is captured
        self.captured.ship()
        others = [self.captured.restart, self.captured.take_over, self._checkpoint, self._compact, self._snapshot, self._expire]
        if self.random.random() < 0.25:
            self.random.choices(others, [3, 1, 8, 8, 4, 2])[0]()

    def look_back(self) -> None:
        """Restore some moment that may be asked for, and compare."""
        times = self.captured.times
        at_ms = self.random.randrange(max(self.since_ms, times[1]), max(times.values()) + 1000)

        rebuilt = rebuild(self.tree, self.folder / "rebuilt", at_ms=at_ms)

        txids = sorted(times)
        expected = txids[bisect_right([times[txid] for txid in txids], at_ms) - 1]
        assert (rebuilt.txid, rebuilt.timestamp_ms, rebuilt.avoided) == (expected, times[expected], ())
        assert digest((self.folder / "rebuilt").read_bytes()) == self.captured.files[expected]

    def look_before(self) -> None:
        """What was given up is told, with the first moment that can be restored."""
        earliest = earliest_ms(self.tree)
        assert earliest is not None
        assert earliest <= max(self.since_ms, self.captured.times[1])
        with pytest.raises(NothingToRestore) as raised:
            rebuild(self.tree, self.folder / "rebuilt", at_ms=earliest - 1)
        assert raised.value.earliest_ms == earliest

    def _checkpoint(self) -> None:
        assert self.captured.database.checkpoints.run()

    def _compact(self) -> None:
        compact(self.tree, self.folder / "spool", 1)

    def _snapshot(self) -> None:
        rebuilt = rebuild(self.tree, self.folder / "rebuilt")
        put_snapshot(self.tree, self.folder / "rebuilt", rebuilt, 1, self.folder / "spool")

    def _expire(self) -> None:
        times = sorted(self.captured.times.values())
        self.since_ms = max(self.since_ms, self.random.choice(times[: len(times) * 2 // 3]))
        expire(self.tree, self.since_ms)


@pytest.mark.timeout(300 + POINTS)
def test_each_moment_comes_back(store: ObjectStore, tmp_path: Path) -> None:
    seed = random.randrange(10**6) if "ENGRAM_SOAK_POINTS" in os.environ else 5
    print(f"seed {seed}")
    with CapturedDatabase(tmp_path, tree_of(store, tmp_path / "spool"), seed) as captured:
        world = World(captured, tmp_path, seed)
        for _ in range(0, POINTS, POINTS_IN_ROUND):
            for _ in range(STEPS_IN_ROUND):
                world.step()
            captured.ship()
            for _ in range(POINTS_IN_ROUND):
                world.look_back()
            world.look_before()
        assert rebuild(captured.tree, tmp_path / "rebuilt").txid == captured.txid
        reader = open_reader(tmp_path / "rebuilt")
        assert reader.pragma("integrity_check") == "ok"
        assert rows_of(reader) == captured.rows[captured.txid]
        reader.close()
        assert list((tmp_path / "spool").iterdir()) == []
