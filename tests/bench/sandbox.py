"""What the box around an engine costs: at its start, layer by layer, and afterwards, when it reads.

Layers are added in the order in which engines apply them, as far as this machine has them. Each is measured in a child of an
interpreter that has loaded what the fork server has, all in turn, so that whatever else the machine does hits them alike. A
read is one memory by its id, as a request does it, in a database that was filled before. CPU is processor time, to which other
work on the machine adds less.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import struct
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import engine.fork_server  # noqa: F401  what the parent of engines has loaded
from engine.sandbox import Box, Confinement, find_out
from engine.sandbox.confinement import LAYERS
from engine.sandbox.users import FIRST, service_of
from engine.store import memories
from engine.store.connection import preload
from engine.store.database import Database
from tests.bench import table

_SEED = 7
_MEMORIES = 1000
_MEMORY_MAX_MB = 1024
_DEADLINE_S = 600.0
_ANSWER = struct.Struct("dd")

Times = dict[str, list[float]]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="scripts/bench sandbox", description=__doc__)
    options.add_argument("--forks", type=int, default=500, help="of each kind")
    options.add_argument("--reads", type=int, default=20_000, help="in each child that reads")
    options.add_argument("--readers", type=int, default=15, help="children that read, in and out of the box")
    given = options.parse_args()
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # as the fork server has it, which has one thread
        os.execve(sys.executable, sys.orig_argv, os.environ | {"OPENBLAS_NUM_THREADS": "1"})
    print(table.machine())
    own_users = service_of(None) is not None
    whole, isolation = find_out(own_users=own_users)
    missing = ", ".join(f"{layer}: {why}" for layer, why in isolation.layers.items() if why)
    print(f"isolation: {isolation.level}{f' ({missing})' if missing else ''}")
    preload()
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="engram-bench-") as parent:
        Path(parent).chmod(0o711)
        folder = Path(parent, "tenant")
        folder.mkdir(mode=0o700)
        _fill(folder / "memory.db")
        user = FIRST if own_users else None
        if user is not None:
            for path in (folder, *folder.iterdir()):
                os.chown(path, user, user)
        box = Box(folder=folder, user=user, memory_max_mb=_MEMORY_MAX_MB, parent=os.getpid())
        _measure_start(whole, box, given.forks)
        _measure_reads(whole, box, given.readers, given.reads)


def _measure_start(whole: Confinement, box: Box, forks: int) -> None:
    layers = [layer for layer in LAYERS if layer in whole.layers]
    kinds = {"no box": Confinement(frozenset())}
    for count, layer in enumerate(layers, 1):
        kinds[f"+ {layer}"] = Confinement(frozenset(layers[:count]))
    applied: Times = defaultdict(list)
    worked: Times = defaultdict(list)
    lived: Times = defaultdict(list)
    for _ in range(forks):
        for kind, confinement in kinds.items():
            began = time.perf_counter()
            elapsed_us, cpu_us = _in_child(partial(_timed_us, partial(confinement.apply, box)))
            applied[kind].append(elapsed_us)
            worked[kind].append(cpu_us)
            lived[kind].append((time.perf_counter() - began) * 1_000_000)
    before = 0.0
    rows = []
    for kind in kinds:
        cpu_us = median(worked[kind])
        figures = [table.percentile(times[kind], share) for times in (applied, lived) for share in (0.5, 0.99)]
        ratio = table.percentile(lived[kind], 0.5) / table.percentile(lived["no box"], 0.5)
        rows.append(
            (kind, f"{cpu_us - before:,.0f}", f"{cpu_us:,.0f}", *(f"{figure:,.0f}" for figure in figures), f"{ratio:.2f}")
        )
        before = cpu_us
    head = ("", "this layer CPU µs", "apply CPU µs", "apply µs p50", "p99", "fork to exit µs p50", "p99", "/ no box")
    table.show(f"The box at its start, {forks} forks of each kind; each row has the layers above it too", head, rows)


def _measure_reads(whole: Confinement, box: Box, readers: int, reads: int) -> None:
    outside = Confinement(frozenset())
    kinds = {"out of the box": outside, "in the box": whole, "out of the box, again": outside}
    times: Times = defaultdict(list)
    for _ in range(readers):
        for kind, confinement in kinds.items():
            _, cpu_us = _in_child(partial(_read_us, confinement, box, reads))
            times[kind].append(cpu_us / reads)
    base = median(times["out of the box"])
    rows = [(kind, f"{median(one):.2f}", f"{min(one):.2f}", f"{median(one) / base:.3f}") for kind, one in times.items()]
    head = ("", "CPU µs", "least", "/ out")
    table.show(f"A read by its id: medians of {readers} children that read {reads:,} times each", head, rows)


def _read_us(confinement: Confinement, box: Box, reads: int) -> tuple[float, float]:
    """Confine this process; return how many microseconds so many reads take, and how many of them the processor worked."""
    with Database(confinement.apply(box) / "memory.db") as database:
        chance = random.Random(_SEED)
        ids = [chance.randint(1, _MEMORIES) for _ in range(reads)]

        def read_all() -> None:
            for memory_id in ids:
                with database.read(time.monotonic() + _DEADLINE_S):
                    memories.get(database.connection, memory_id, database.now())

        read_all()
        return _timed_us(read_all)


def _in_child(work: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """Return what ``work`` returns in a child of this process, which ends with it."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(send, _ANSWER.pack(*work()))
            status = 0
        except BaseException as error:
            os.write(2, f"in the child: {error!r}\n".encode())
        finally:
            os._exit(status)
    os.close(send)
    with os.fdopen(receive, "rb") as answer:
        data = answer.read()
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise SystemExit("bench: a child failed")
    elapsed_us, cpu_us = _ANSWER.unpack(data)
    return elapsed_us, cpu_us


def _timed_us(work: Callable[[], object]) -> tuple[float, float]:
    """Return how many microseconds ``work`` takes, and how many of them the processor works for this process."""
    began, cpu_began = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - began) * 1_000_000, (time.process_time() - cpu_began) * 1_000_000


def _fill(path: Path) -> None:
    with Database(path) as database, database.write_group():
        for number in range(_MEMORIES):
            content = f"Plant {number} on the window sill of the office was watered."
            row = {
                "content": content,
                "content_hash": memories.content_hash(content),
                "type": "note",
                "tags": "[]",
                "metadata": "{}",
                "importance": 0.5,
                "workspace": "default",
                "scope_type": "global",
                "tier": "permanent",
                "version": 1,
                "created_at": database.now(),
                "updated_at": database.now(),
            }
            memories.insert(database.connection, row)


if __name__ == "__main__":
    main()
