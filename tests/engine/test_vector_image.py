"""The image of the codes: its scores, its order, and that it stays in step with the file."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.catalogue.memory import MemoryCreate
from engine.protocol import Embedding, Passage, Request
from engine.store import embedding_models, memories, passages, vector_code
from engine.store.database import Database
from engine.store.vector_code import QueryMasks
from engine.store.vector_image import VectorImage, best_first
from engine.tools import memory

DIMENSIONS = 72
"""Neither one word nor a whole number of them."""


def unit(seed: int, dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
    vector = np.random.default_rng(seed).standard_normal(dimensions)
    return (vector / np.linalg.norm(vector)).astype("<f4")


def embedding(*seeds: int, model: str = "a-model") -> Embedding:
    return Embedding(model, [Passage(number, number + 1, unit(seed).tobytes()) for number, seed in enumerate(seeds)])


def add(database: Database, *seeds: int) -> int:
    created = memory.create(database, MemoryCreate(content=f"about {seeds}"), Request(id=1, method=""))
    passages.replace(database.connection, created.id, embedding(*seeds))
    return created.id


def synchronised(database: Database) -> VectorImage:
    held = embedding_models.active(database.connection)
    assert held is not None
    database.image.synchronise(held)
    return database.image


@given(st.integers(1, 200), st.integers(0, 1000))
def test_a_score_is_the_querys_rounded_numbers_summed_where_the_vectors_are_positive(dimensions: int, seed: int) -> None:
    query, vectors = unit(seed, dimensions), [unit(seed + number, dimensions) for number in range(1, 6)]
    codes = vector_code.columns(b"".join(vector_code.encode(vector.tobytes()) for vector in vectors), dimensions)
    scores = np.empty(len(vectors), dtype=np.int16)
    QueryMasks(query.tobytes()).score(codes, scores)

    rounded = np.rint(query * np.float32(7 / float(np.abs(query).max()))).astype(int)
    assert [int(rounded[vector > 0].sum()) for vector in vectors] == scores.tolist()


def test_the_most_dimensions_there_may_be_do_not_overflow_a_score() -> None:
    most = np.full(vector_code.DIMENSIONS_MAX, 1 / 64, dtype="<f4").tobytes()
    scores = np.empty(1, dtype=np.int16)
    QueryMasks(most).score(vector_code.columns(vector_code.encode(most), vector_code.DIMENSIONS_MAX), scores)

    assert scores.tolist() == [7 * vector_code.DIMENSIONS_MAX]


def test_a_query_of_zeros_scores_nothing() -> None:
    scores = np.ones(1, dtype=np.int16)
    codes = vector_code.columns(vector_code.encode(unit(1).tobytes()), DIMENSIONS)
    QueryMasks(bytes(DIMENSIONS * 4)).score(codes, scores)

    assert scores.tolist() == [0]


@given(st.lists(st.integers(-40, 40), max_size=300), st.integers(1, 320), st.integers(0, 50))
def test_the_best_come_first_the_newest_among_equals_and_a_deeper_look_begins_alike(
    values: list[int], depth: int, more: int
) -> None:
    scores = np.array(values, dtype=np.int16)
    expected = sorted(range(len(values)), key=lambda position: (-values[position], -position))
    shallow, deep = best_first(scores, depth).tolist(), best_first(scores, depth + more).tolist()

    assert min(depth, len(values)) <= len(shallow)
    assert expected[: len(shallow)] == shallow
    assert expected[: len(deep)] == deep


def test_the_code_made_here_is_the_one_that_a_migration_makes_with_sqlite_vec(database: Database) -> None:
    for seed in range(20):
        vector = unit(seed).tobytes()
        assert database.connection.execute("SELECT vec_quantize_binary(?)", (vector,)).get == vector_code.encode(vector)


def test_the_image_reads_on_and_starts_anew_when_much_is_gone(database: Database) -> None:
    with database.write_group():
        first = [add(database, seed) for seed in range(600)]
    image = synchronised(database)
    assert image.memory_ids.tolist() == first

    with database.write_group():
        later = add(database, 1000, 1001)
        passages.remove(database.connection, first[0])
    assert synchronised(database).memory_ids.tolist() == [*first, later, later]

    with database.write_group():
        for memory_id in first[1:300]:
            passages.remove(database.connection, memory_id)
    assert synchronised(database).memory_ids.tolist() == [*first[300:], later, later]
    assert image.starts.tolist() == list(range(301))


def test_what_was_read_in_a_transaction_that_failed_is_forgotten(database: Database) -> None:
    with database.write_group():
        kept = add(database, 1)
    synchronised(database)
    with pytest.raises(ZeroDivisionError), database.write_group():
        add(database, 2, 3)
        assert synchronised(database).count == 3
        _ = 1 / 0
    with database.write_group():
        other = add(database, 4)

    image = synchronised(database)
    assert image.memory_ids.tolist() == [kept, other]
    query = QueryMasks(unit(4).tobytes())
    expected = np.empty(1, dtype=np.int16)
    query.score(vector_code.columns(vector_code.encode(unit(4).tobytes()), DIMENSIONS), expected)
    assert image.scores(query)[1] == expected[0]


def test_an_image_of_several_blocks_scores_like_one(monkeypatch: pytest.MonkeyPatch, database: Database) -> None:
    with database.write_group():
        for seed in range(40):
            add(database, seed)
    query = QueryMasks(unit(99).tobytes())
    whole = synchronised(database).scores(query).tolist()

    monkeypatch.setattr("engine.store.vector_image.BLOCK_PASSAGES", 7)
    image = VectorImage(database.connection)
    held = embedding_models.active(database.connection)
    assert held is not None
    image.synchronise(held)
    with database.write_group():
        add(database, 40)
    image.synchronise(held)

    assert image.scores(query).tolist()[:40] == whole
    assert image.count == memories.count(database.connection, database.now())
