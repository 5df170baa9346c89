"""Whatever is done to a database, and however often its engine dies: the files of its outbox, in order, are its file."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.capture import Capture
from engine.catalogue.memory import MemoryCreate, MemoryDelete, MemoryUpdate
from engine.protocol import Request
from engine.store.database import Database
from engine.tools import memory
from tests.engine.history import Replica, new_folder

REQUEST = Request(id=1, method="")


class Life(RuleBasedStateMachine):
    """One database, captured, and a replica that takes what is in the outbox when it pleases."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.folder = new_folder(Path(tempfile.mkdtemp(), "tenant"))
        self.replica = Replica()
        self.now = 1_790_000_000_000_000
        self.ids: list[int] = []
        self.database = self.opened()

    def opened(self) -> Database:
        return Database(self.folder / "memory.db", clock=lambda: self.now, capture=Capture(self.folder, clock=lambda: self.now))

    def teardown(self) -> None:
        self.flush()
        self.database.close()
        self.replica.ship(self.folder)
        assert self.replica.file() == (self.folder / "memory.db").read_bytes()
        shutil.rmtree(self.folder.parent)

    @rule(count=st.integers(1, 40), words=st.integers(1, 2000))
    def create(self, count: int, words: int) -> None:
        with self.database.write_group():
            for _ in range(count):
                content = f"{self.chance.getrandbits(64):x} " + "harbour " * words
                self.ids.append(memory.create(self.database, MemoryCreate(content=content), REQUEST).id)

    @rule(purge=st.booleans(), share=st.floats(0.1, 1))
    def delete(self, purge: bool, share: float) -> None:
        gone = self.chance.sample(self.ids, int(len(self.ids) * share))
        with self.database.write_group():
            for memory_id in gone:
                memory.delete(self.database, MemoryDelete(id=memory_id, purge=purge), REQUEST)
        self.ids = [memory_id for memory_id in self.ids if memory_id not in gone]

    @rule()
    def change(self) -> None:
        for memory_id in self.chance.sample(self.ids, min(3, len(self.ids))):
            with self.database.write_group():
                content = f"{self.chance.getrandbits(64):x}"
                memory.update(self.database, MemoryUpdate(id=memory_id, content=content), REQUEST)

    @rule()
    def shrink(self) -> None:
        """Nothing in the engine does so, but SQLite may: the database ends where it did not end before."""
        self.database.connection.execute("VACUUM")

    @rule()
    def fail(self) -> None:
        """A group that is undone leaves frames of nothing behind the log's end."""
        try:
            with self.database.write_group():
                for _ in range(20):
                    memory.create(self.database, MemoryCreate(content="never " * 2000), REQUEST)
                self.database.connection.cache_flush()
                raise InterruptedError
        except InterruptedError:
            pass

    @rule()
    def flush(self) -> None:
        self.database.flush()
        assert self.database.capture is not None
        if self.database.capture.needs_thread:
            self.database.capture.flush_whole()
        assert not self.database.capture.is_behind

    @rule()
    def empty_the_log(self) -> None:
        assert self.database.capture is not None
        if self.database.capture.needs_thread:
            self.flush()
        assert self.database.checkpoints.run()
        self.replica.ship(self.folder)
        assert self.replica.file() == (self.folder / "memory.db").read_bytes()

    @rule()
    def ship(self) -> None:
        self.replica.ship(self.folder)

    @rule(killed=st.booleans())
    def end_and_begin(self, killed: bool) -> None:
        """As after ``kill -9``, or in order. In neither case is the whole database captured again."""
        if killed:
            self.database.abandon()
        else:
            self.database.close()
        self.database = self.opened()
        assert self.database.capture is not None
        assert not self.database.capture.position.whole_next or self.database.capture.position.txid == 0

    @rule(step_ms=st.integers(-10_800_000, 10_800_000))
    def set_the_clock(self, step_ms: int) -> None:
        self.now += step_ms * 1000

    @invariant()
    def agree(self) -> None:
        """What is captured and shipped has the checksum that the engine goes on from."""
        if hasattr(self, "replica") and self.replica.headers:
            assert self.database.capture is not None
            position = self.database.capture.position
            assert position.txid != self.replica.txid or self.replica.agrees_with(position)


Life.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLife = Life.TestCase
