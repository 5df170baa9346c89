"""What capture costs: writes per second of one engine's database with capture on and off, in turn in the same run.

A write is one memory with a vector, stored by the real tool in a group of its own with the fsync that it is answered after.
Both databases are open, and take turns of so many writes, so that whatever else the machine does hits both alike. What an
engine's timer does is done here: what was committed is captured every quarter of a second of that database's own time, and
before each checkpoint. CPU is processor time, to which other work on the machine adds less.
"""

from __future__ import annotations

import argparse
import random
import struct
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from engine.capture import Capture
from engine.capture.outbox import OUTBOX_FOLDER
from engine.catalogue.memory import MemoryCreate
from engine.ltx.header import FILE_BYTES_MIN
from engine.protocol import Embedding, Passage, Request
from engine.store.connection import preload
from engine.store.database import Database
from engine.tools import memory
from tests.bench import table

_SEED = 7
_FLUSH_INTERVAL_S = 0.25
_DIMENSIONS = 384
_WORDS = (
    "harbour",
    "light",
    "office",
    "cat",
    "printer",
    "rain",
    "window",
    "plant",
    "market",
    "bread",
    "river",
    "stone",
    "letter",
)
_chance = random.Random(_SEED)
_VECTORS = [struct.pack(f"<{_DIMENSIONS}f", *[_chance.uniform(-1, 1) for _ in range(_DIMENSIONS)]) for _ in range(200)]


@dataclass
class _Side:
    """One of the two databases, and what it took."""

    database: Database
    chance: random.Random
    elapsed_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    flushes_ms: list[float] = field(default_factory=list)
    own_time_s: float = 0
    flush_at_s: float = _FLUSH_INTERVAL_S

    def turn(self, writes: int) -> None:
        """Write so many memories."""
        began, cpu_began = time.perf_counter(), time.process_time()
        for _ in range(writes):
            now = time.perf_counter()
            if self.own_time_s + now - began >= self.flush_at_s:
                self.database.flush()
                after = time.perf_counter()
                self.flushes_ms.append((after - now) * 1000)
                self.flush_at_s = self.own_time_s + after - began + _FLUSH_INTERVAL_S
            _write(self.database, self.chance)
        self.elapsed_s.append(time.perf_counter() - began)
        self.cpu_s.append(time.process_time() - cpu_began)
        self.own_time_s += self.elapsed_s[-1]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="scripts/bench capture", description=__doc__)
    options.add_argument("--turns", type=int, default=60, help="of each database")
    options.add_argument("--writes", type=int, default=100, help="of each turn")
    options.add_argument("--memories", type=int, default=5000, help="that are there before")
    given = options.parse_args()
    print(table.machine())
    preload()
    with tempfile.TemporaryDirectory(prefix="engram-bench-") as parent:
        off, on = (_filled(Path(parent, name), given.memories, captured=name == "on") for name in ("off", "on"))
        whole_us = _whole(on.database)
        for turn in range(given.turns):
            for side in (off, on) if turn % 2 else (on, off):
                side.turn(given.writes)
        files, pages, size = _outbox(Path(parent, "on"))
        for side in (off, on):
            side.database.close()
    rows = []
    for name, side in (("capture off", off), ("capture on", on)):
        ratios = [plain / own for plain, own in zip(off.elapsed_s, side.elapsed_s, strict=True)]
        cpu = [plain / own for plain, own in zip(off.cpu_s, side.cpu_s, strict=True)]
        rate = given.writes / median(side.elapsed_s)
        cpu_ms = median(side.cpu_s) / given.writes * 1000
        rows.append((name, f"{rate:,.0f}", f"{sum(off.elapsed_s) / sum(side.elapsed_s):.3f}", f"{median(ratios):.3f}"))
        rows[-1] += (f"{cpu_ms:.2f}", f"{sum(off.cpu_s) / sum(side.cpu_s):.3f}", f"{median(cpu):.3f}")
    head = ("", "writes/s", "/ off", "by turns", "CPU ms a write", "/ off", "by turns")
    table.show(f"{given.turns} turns of {given.writes} writes each", head, rows)
    p50, p99 = (table.percentile(on.flushes_ms, share) for share in (0.5, 0.99))
    figures = (len(on.flushes_ms), f"{p50:.1f}", f"{p99:.1f}", files, f"{pages / files:.0f}", f"{size / pages:.0f}")
    head = ("", "by the timer", "p50 ms", "p99 ms", "files", "pages a file", "bytes a page", "µs a page of a whole")
    table.show("Flushes", head, [("", *figures, f"{whole_us:.1f}")])


def _filled(folder: Path, memories: int, *, captured: bool) -> _Side:
    (folder / OUTBOX_FOLDER).mkdir(parents=True)
    chance = random.Random(_SEED)
    database = Database(folder / "memory.db", capture=Capture(folder) if captured else None)
    with database.write_group():
        for number in range(memories):
            content = f"{number} " + " ".join(chance.choices(_WORDS, k=40))
            memory.create(database, MemoryCreate(content=content), Request(id=1, method=""))
    database.checkpoints.run()
    for path in (folder / OUTBOX_FOLDER).iterdir():
        path.unlink()
    return _Side(database, chance)


def _whole(database: Database) -> float:
    """Return how many microseconds a page takes when the whole database is captured."""
    assert database.capture is not None
    began = time.perf_counter()
    database.capture.flush_whole()
    return (time.perf_counter() - began) * 1_000_000 / database.capture.position.pages


def _outbox(folder: Path) -> tuple[int, int, int]:
    """Return how many files the increments are, how many pages they hold, and their bytes."""
    sizes = []
    pages = 0
    for path in sorted((folder / OUTBOX_FOLDER).iterdir())[1:]:
        data = path.read_bytes()
        sizes.append(len(data))
        index_bytes = int.from_bytes(data[-24:-16], "big")
        pages += _entries(data[-24 - index_bytes : -24])
    return len(sizes), pages, sum(sizes) - FILE_BYTES_MIN * len(sizes)


def _entries(index: bytes) -> int:
    """Return how many pages an index lists: three numbers each, whose last byte has no highest bit; then a zero."""
    return sum(byte < 0x80 for byte in index) // 3


def _write(database: Database, chance: random.Random) -> None:
    text = " ".join(chance.choices(_WORDS, k=40)) + f" {chance.getrandbits(40)}"
    request = Request(id=1, method="", embeddings=[Embedding("bench", [Passage(0, len(text), chance.choice(_VECTORS))])])
    with database.write_group():
        memory.create(database, MemoryCreate(content=text), request)
    database.checkpoint_if_due()


if __name__ == "__main__":
    main()
