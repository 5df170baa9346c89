"""An import of many memories: how fast, how much memory it takes, and how long others of the same database wait meanwhile.

Reads and writes are timed one after the other by one client each, before the import and while it runs. Memory is the largest
anonymous RSS seen: the upload is a mapped file, whose pages are the kernel's to take back.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy
import psutil

from engine.catalogue.export_file import Entry
from engine.protocol import Embedding, Passage
from engine.store import passages
from engine.store.connection import preload
from engine.store.database import Database
from tests.bench import table
from tests.bench.node import running
from tests.engine import importing
from tests.service import Account, Service

_SEED = 7
_WORDS_PER_TEXT = 25
_PAUSE_S = 0.002
_SAMPLE_S = 0.05
_QUIET_S = 5.0
_PIECE_BYTES = 256 * 1024
_DIMENSIONS = 384
_VECTORS_AT_ONCE = 64


@dataclass
class Timings:
    """Seconds of each request of one kind, and whether it failed."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0


class Others:
    """Clients that read and write the same database in the background, each on a thread and a connection of its own."""

    def __init__(self, service: Service, account: Account) -> None:
        self._service = service
        self._key = account.key
        self._database = account.database

    @contextmanager
    def at_work(self) -> Iterator[dict[str, Timings]]:
        """Time them during the block."""
        calls: dict[str, Callable[[Account], Any]] = {
            "get": lambda account: account.get("/v1/memories/1"),
            "search by words": lambda account: account.post("/v1/search", json={"query": "harbour", "mode": "keyword"}),
            "create": lambda account: account.post("/v1/memories", json={"content": "Written meanwhile."}),
        }
        timings = {name: Timings() for name in calls}
        stop = threading.Event()
        threads = [threading.Thread(target=self._repeat, args=(call, timings[name], stop)) for name, call in calls.items()]
        for thread in threads:
            thread.start()
        try:
            yield timings
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _repeat(self, call: Callable[[Account], Any], timings: Timings, stop: threading.Event) -> None:
        with Account(self._service.url, self._key, self._database) as account:
            while not stop.wait(_PAUSE_S):
                begun = time.perf_counter()
                answer = call(account)
                timings.seconds.append(time.perf_counter() - begun)
                timings.failed += not answer.is_success


@contextmanager
def sampled(processes: dict[str, psutil.Process]) -> Iterator[dict[str, int]]:
    """Yield the largest anonymous memory of each process during the block, in MiB."""
    peaks = dict.fromkeys(processes, 0)
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(_SAMPLE_S):
            for name, process in processes.items():
                peaks[name] = max(peaks[name], _anonymous_kib(process.pid) // 1024)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="scripts/bench import", description=__doc__)
    options.add_argument("--memories", type=int, default=100_000)
    options.add_argument("--embedded", type=int, default=2_000, help="of another import, waited for until all have vectors")
    options.add_argument("--vectors", type=int, default=10_000, help="staged and given ready vectors without any service")
    given = options.parse_args()
    print(table.machine())
    with running() as service, service.sign_up() as account, service.sign_up() as other:
        account.create("The harbour master is here.")
        others = Others(service, account)
        with others.at_work() as quiet:
            time.sleep(_QUIET_S)
        content = _file(given.memories)
        watched = {"gateway": service.program("gateway.main"), "engine": service.engines()[account.database]}
        with sampled(watched) as peaks, others.at_work() as busy:
            seconds = _send(account, content)
        rows = [(name, *_row(quiet[name]), *_row(busy[name])) for name in quiet]
        head = ("", "alone p50 ms", "p99", "max", "n", "meanwhile p50 ms", "p99", "max", "n")
        table.show(f"Others while {given.memories:,} memories are imported ({len(content) / 2**20:.0f} MiB)", head, rows)
        rate = f"{given.memories / seconds:,.0f}"
        embedded = _embedded(other, given.embedded) if given.embedded else None
        table.show(
            "The import",
            ("", "seconds", "memories/s", "gateway MiB", "engine MiB"),
            [("until it is answered, vectors pending", f"{seconds:.1f}", rate, peaks["gateway"], peaks["engine"])],
        )
        if embedded is not None:
            print(f"  until all of {given.embedded:,} have vectors: {given.embedded / embedded:,.0f} memories/s")
        if given.vectors:
            staged, filled = _with_vectors(given.vectors)
            print(
                f"  in the engine alone, {given.vectors:,}: {staged:,.0f} staged a second, {filled:,.0f} given vectors a second"
            )
        failed = sum(timings.failed for timings in (*quiet.values(), *busy.values()))
        print(f"  requests of others that failed: {failed}")


def _embedded(account: Account, memories: int) -> float:
    begun = time.perf_counter()
    _send(account, _file(memories))
    account.wait_for_embeddings(3600)
    return time.perf_counter() - begun


def _with_vectors(memories: int) -> tuple[float, float]:
    """Return memories staged, and given vectors of 384 numbers, a second by one engine's code in this process."""
    preload()
    chance = numpy.random.default_rng(_SEED)
    entries = msgspec.json.decode(_file(memories), type=_Document).memories
    with tempfile.TemporaryDirectory(prefix="engram-bench-") as folder, Database(Path(folder) / "memory.db") as database:
        begun = time.perf_counter()
        importing.bring_in_batches(database, entries)
        staged = time.perf_counter()
        for first in range(0, memories, _VECTORS_AT_ONCE):
            vectors = chance.standard_normal((_VECTORS_AT_ONCE, _DIMENSIONS), dtype=numpy.float32)
            vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
            with importing.write(database):
                for one, vector in zip(entries[first : first + _VECTORS_AT_ONCE], vectors, strict=False):
                    whole = Passage(0, len(one.content), vector.tobytes())
                    passages.replace(database.connection, one.id, Embedding("a-model", [whole]))
        return memories / (staged - begun), memories / (time.perf_counter() - staged)


class _Document(msgspec.Struct):
    memories: list[Entry]


def _send(account: Account, content: bytes) -> float:
    begun = time.perf_counter()
    pieces = (content[at : at + _PIECE_BYTES] for at in range(0, len(content), _PIECE_BYTES))
    answer = account.post("/v1/import", content=pieces, headers={"Content-Type": "application/json"}, timeout=3600)
    answer.raise_for_status()
    return time.perf_counter() - begun


def _file(memories: int) -> bytes:
    chance = random.Random(_SEED)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(chance.choices(letters, k=chance.randint(3, 9))) for _ in range(5000)]
    entries = [
        {
            "id": number + 1_000_000,
            "content": " ".join(chance.choices(words, k=_WORDS_PER_TEXT)),
            "memory_type": "note",
            "tags": ["work", "planning"],
            "metadata": {"project": "billing"},
            "created_at": "2025-01-01T00:00:00Z",
        }
        for number in range(memories)
    ]
    return json.dumps({"version": "1.0", "memories": entries}).encode()


def _row(timings: Timings) -> tuple[str, ...]:
    times = [second * 1000 for second in timings.seconds]
    found = (table.percentile(times, 0.5), table.percentile(times, 0.99), max(times))
    return (*(f"{value:.1f}" for value in found), f"{len(times):,}")


def _anonymous_kib(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="ascii") as file:  # noqa: PTH123
        return next((int(line.split()[1]) for line in file if line.startswith("RssAnon:")), 0)


if __name__ == "__main__":
    main()
