"""The nearest memories: that selecting and looking give what looking and selecting would, and how near that is to the truth."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.catalogue.memory import MemoryCreate, MemoryDelete
from engine.protocol import Embedding, ErrorCode, Passage, RemoteError, Request
from engine.recall.spread import Spread
from engine.store import meaning, passages
from engine.store.database import Database
from engine.store.selection import Selection
from engine.tools import memory

DIMENSIONS = 64
REQUEST = Request(id=1, method="")


def clustered(generator: np.random.Generator, count: int, dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
    """Return unit vectors around a few centres, as texts on a few subjects have them."""
    centres = generator.standard_normal((8, dimensions))
    vectors = centres[generator.integers(0, 8, count)] + generator.standard_normal((count, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f4")


def embedding(vectors: NDArray[np.float32]) -> Embedding:
    return Embedding("a-model", [Passage(at, at + 1, vector.tobytes()) for at, vector in enumerate(vectors)])


def add(database: Database, vectors: NDArray[np.float32], **fields: object) -> int:
    created = memory.create(database, MemoryCreate(content="x", **fields), REQUEST)  # type: ignore[arg-type]
    passages.replace(database.connection, created.id, embedding(vectors))
    return created.id


def expected(database: Database, query: NDArray[np.float32], selection: Selection, limit: int) -> dict[int, float]:
    """Select first, then score each passage from its vector, then compare those from the best to the last memory's exactly."""
    condition, parameters = selection.condition(database.now())
    rows = database.connection.execute(
        f"SELECT p.id, p.memory_id, p.vector FROM passages AS p JOIN memories AS m ON m.id = p.memory_id WHERE {condition}",
        parameters,
    ).fetchall()
    rounded = np.rint(query * np.float32(7 / float(np.abs(query).max()))).astype(int)
    vectors = {row[0]: np.frombuffer(row[2], dtype="<f4") for row in rows}
    met: dict[int, float] = {}
    for passage_id, memory_id, _ in sorted(rows, key=lambda row: (-rounded[vectors[row[0]] > 0].sum(), -row[0])):
        cosine = float(vectors[passage_id].astype(float) @ query.astype(float))
        met[memory_id] = max(met.get(memory_id, -1.0), cosine)
        if len(met) == limit:
            break
    return met


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=120),
    todo_share=st.sampled_from([0.02, 0.3, 0.9]),
    limit=st.integers(1, 30),
    look_up_cost=st.sampled_from([0, 16, 10_000]),
)
def test_selecting_on_the_way_is_like_selecting_first(
    seed: int, lengths: list[int], todo_share: float, limit: int, look_up_cost: int
) -> None:
    generator = np.random.default_rng(seed)
    query = clustered(generator, 1)[0]
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory() as folder,
        Database(Path(folder) / "memory.db") as database,
    ):
        patch.setattr(meaning, "COMPARED_MAX", 0)
        patch.setattr(meaning, "_LOOK_UP_COST", look_up_cost)
        with database.write_group():
            ids = [
                add(database, clustered(generator, length), type="todo" if generator.random() < todo_share else "note")
                for length in lengths
            ]
        for selection in (Selection(), Selection(type="todo"), Selection(type="decision")):
            found, spread = meaning.nearest(database.image, embedding(query[None]), selection, limit=limit, now=database.now())
            wanted = expected(database, query, selection, limit)
            assert found.keys() == wanted.keys()
            assert [near.cosine for near in found.values()] == pytest.approx(sorted(wanted.values(), reverse=True), abs=1e-6)
            assert spread.count > 0 or not wanted

        # The image is read by now: what changes behind its back must not be found, nor make the answer short.
        with database.write_group():
            for memory_id in ids[:: 1 + seed % 3]:
                memory.delete(database, MemoryDelete(id=memory_id), REQUEST)
            for memory_id in ids[1 :: 2 + seed % 3]:
                passages.remove(database.connection, memory_id)
            add(database, clustered(generator, 2), type="todo")
        for selection in (Selection(), Selection(type="todo")):
            found, _ = meaning.nearest(database.image, embedding(query[None]), selection, limit=limit, now=database.now())
            assert found.keys() == expected(database, query, selection, limit).keys()


def test_few_and_many_give_nearly_the_same(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    vectors = clustered(generator, 1900, 384)
    with database.write_group():
        for number, vector in enumerate(vectors):
            add(database, vector[None], type="todo" if number % 3 else "note")
    for selection in (Selection(), Selection(type="todo")):
        shared = 0
        for query in clustered(generator, 20, 384) + vectors[:20]:
            query /= np.linalg.norm(query)
            monkeypatch.setattr(meaning, "COMPARED_MAX", 2000)
            exact, spread = meaning.nearest(database.image, embedding(query[None]), selection, limit=200, now=database.now())
            monkeypatch.setattr(meaning, "COMPARED_MAX", 0)
            found, estimate = meaning.nearest(database.image, embedding(query[None]), selection, limit=200, now=database.now())
            shared += len({*list(exact)[:10]} & {*list(found)[:10]})
            assert abs(estimate.mean - spread.mean) < 0.4 * spread.deviation
            assert 0.6 < estimate.deviation / spread.deviation < 1.6
        assert shared >= 0.99 * 200


def test_the_spread_of_few_is_exact(database: Database) -> None:
    generator = np.random.default_rng(2)
    query, vectors = clustered(generator, 1)[0], clustered(generator, 30)
    with database.write_group():
        for pair in vectors.reshape(15, 2, DIMENSIONS):
            add(database, pair)
    _, spread = meaning.nearest(database.image, embedding(query[None]), Selection(), limit=3, now=database.now())

    best = (vectors.astype(float) @ query.astype(float)).reshape(15, 2).max(axis=1)
    assert (spread.count, spread.mean) == (15, pytest.approx(best.mean(), abs=1e-6))
    assert spread.deviation == pytest.approx(best.std(), abs=1e-6)


def test_before_the_first_vector_nothing_is_near(database: Database) -> None:
    query = embedding(clustered(np.random.default_rng(3), 1))

    assert meaning.nearest(database.image, query, Selection(), limit=3, now=database.now()) == ({}, Spread())
    assert meaning.nearness(database.connection, query, [1]) == {}


def test_a_query_that_cannot_be_compared_is_refused(database: Database) -> None:
    vectors = clustered(np.random.default_rng(4), 2)
    with database.write_group():
        add(database, vectors[:1])
    for query, code in (
        (Embedding("b-model", embedding(vectors[:1]).passages), ErrorCode.WRONG_MODEL),
        (embedding(vectors), ErrorCode.WRONG_MODEL),
        (embedding(vectors[:1, :32]), ErrorCode.INVALID),
    ):
        with pytest.raises(RemoteError) as refused:
            meaning.nearest(database.image, query, Selection(), limit=3, now=database.now())
        assert refused.value.code == code
