"""Engine time of a search over stores of several sizes: from the request, with its vector, to the answer.

Beside each stands a plain scan of the float vectors by sqlite-vec in the same file, unfiltered, and how long reading the codes
once would take at the speed of this machine's memory. Texts are words drawn as words are (Zipf); vectors lie around centres,
as texts on a few hundred subjects do. ``type`` has no index; every second memory has the type that is asked for.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.catalogue.search import MemorySearch
from engine.protocol import Embedding, Passage, Request
from engine.store import memories, passages, vector_code
from engine.store.connection import preload
from engine.store.database import Database
from engine.tools.search import search
from tests.bench import table

DIMENSIONS = 384
SUBJECTS = 300
VOCABULARY = 20_000
WORDS = 30
GROUP = 2_000
MODEL = "synthetic"

_PLAIN = "SELECT memory_id FROM passages ORDER BY vec_distance_cosine(vector, ?) LIMIT 10"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="scripts/bench search", description=__doc__)
    options.add_argument("--sizes", default="1000,10000,100000", help="how many memories, separated by commas")
    options.add_argument("--searches", type=int, default=40, help="of each kind")
    options.add_argument("--folder", type=Path, help="where to keep the stores for the next run (default: nowhere)")
    given = options.parse_args()
    preload()
    print(table.machine())
    bandwidth = _bytes_per_second()
    print(f"memory is read at {bandwidth / 1e9:.1f} GB/s by one thread")
    for size in map(int, given.sizes.split(",")):
        with _folder(given.folder) as folder, Database(folder / f"{size}.db") as database:
            _fill(database, size)
            _measure(database, size, given.searches, bandwidth)


def _measure(database: Database, size: int, searches: int, bandwidth: float) -> None:
    generator = np.random.default_rng(size)
    vectors = _queries(database, generator, searches)
    texts = [" ".join(_words(generator, 3)) for _ in range(searches)]
    first_ms = _time_ms(lambda: _search(database, texts[0], vectors[0], mode="semantic"))
    plain_ms = median(_time_ms(lambda v=v: database.connection.execute(_PLAIN, (v,)).fetchall()) for v in vectors[:7])
    kinds: dict[str, dict[str, Any]] = {
        "keyword": {"mode": "keyword"},
        "vector": {"mode": "semantic"},
        "hybrid": {"mode": "hybrid"},
        "vector, 50% selected by type": {"mode": "semantic", "type": "todo"},
        "vector, 1% selected by workspace": {"mode": "semantic", "workspace": "w7"},
        "vector, 1% selected by metadata": {"mode": "semantic", "filter": {"metadata.bucket": {"eq": 7}}},
        "hybrid, 50% selected by type": {"mode": "hybrid", "type": "todo"},
        "hybrid, 1% selected by workspace": {"mode": "hybrid", "workspace": "w7"},
    }
    rows = []
    for name, arguments in kinds.items():
        _search(database, texts[0], vectors[0], **arguments)
        taken = [
            _time_ms(lambda t=t, v=v, a=arguments: _search(database, t, v, **a)) for t, v in zip(texts, vectors, strict=True)
        ]
        p50 = median(taken)
        rows.append((name, f"{p50:.2f}", f"{table.percentile(taken, 0.95):.2f}", f"{plain_ms:.1f}", f"{plain_ms / p50:.1f}"))
    codes = size * vector_code.words(DIMENSIONS) * 8
    title = (
        f"{size:,} memories; first search by meaning, which reads {codes / 1e6:.1f} MB of codes: {first_ms:.0f} ms;"
        f" reading them from memory: {codes / bandwidth * 1000:.2f} ms"
    )
    table.show(title, ("", "p50 ms", "p95 ms", "plain scan ms", "plain / p50"), rows)


def _search(database: Database, text: str, vector: bytes, **arguments: Any) -> None:
    request = Request(id=1, method="memory_search", embeddings=[Embedding(MODEL, [Passage(0, len(text), vector)])])
    with database.read(time.monotonic() + 60):
        search(database, MemorySearch(query=text, **arguments), request)


def _time_ms(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return (time.perf_counter() - began) * 1000


def _fill(database: Database, size: int) -> None:
    """Bring the store to its size, through the engine's own functions."""
    present = memories.count(database.connection, database.now())
    generator = np.random.default_rng(1)
    for start in range(present, size, GROUP):
        with database.write_group():
            vectors = _vectors(generator, min(GROUP, size - start))
            for number, vector in enumerate(vectors, start):
                memory_id = memories.insert(database.connection, _row(generator, number))
                embedding = Embedding(MODEL, [Passage(0, 1, vector.tobytes())])
                passages.replace(database.connection, memory_id, embedding)


def _row(generator: np.random.Generator, number: int) -> dict[str, Any]:
    return {
        "content": " ".join(_words(generator, WORDS)),
        "content_hash": f"sha256:{number:064x}",
        "type": "todo" if number % 2 else "note",
        "tags": "[]",
        "metadata": f'{{"bucket":{number // 2 % 100}}}',
        "importance": 0.5,
        "workspace": f"w{number % 100}",
        "scope_type": "global",
        "tier": "permanent",
        "version": 1,
        "created_at": number,
        "updated_at": number,
    }


def _words(generator: np.random.Generator, count: int) -> list[str]:
    return [f"word{min(rank, VOCABULARY)}" for rank in generator.zipf(1.3, count)]


def _vectors(generator: np.random.Generator, count: int) -> NDArray[np.float32]:
    centres = np.random.default_rng(0).standard_normal((SUBJECTS, DIMENSIONS))
    vectors = 0.7 * centres[generator.integers(0, SUBJECTS, count)] + generator.standard_normal((count, DIMENSIONS))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f4")


def _queries(database: Database, generator: np.random.Generator, count: int) -> list[bytes]:
    """Return vectors near stored ones."""
    found = []
    for memory_id in generator.integers(1, memories.count(database.connection, database.now()), count).tolist():
        (stored,) = database.connection.execute("SELECT vector FROM passages WHERE memory_id = ?", (memory_id,)).fetchone()
        vector = np.frombuffer(stored, dtype="<f4") + 0.03 * generator.standard_normal(DIMENSIONS)
        found.append((vector / np.linalg.norm(vector)).astype("<f4").tobytes())
    return found


def _bytes_per_second() -> float:
    """Return how fast one thread reads memory that no cache holds."""
    numbers = np.ones(2**25, dtype=np.uint64)
    return numbers.nbytes / (min(_time_ms(numbers.sum) for _ in range(5)) / 1000)


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="engram-bench-") as folder:
        yield Path(folder)


if __name__ == "__main__":
    main()
