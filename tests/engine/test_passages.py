"""Vectors of memories: pending, stored, replaced, and how one model's give way to another's."""

from __future__ import annotations

import tempfile
from pathlib import Path

import apsw
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.catalogue.embedding import EmbeddingsStore, PendingTexts, Stored
from engine.catalogue.memory import MemoryCreate, MemoryDelete, MemoryUpdate
from engine.protocol import Embedding, ErrorCode, Passage, RemoteError, Request
from engine.store import embedding_models, meaning, passages
from engine.store.connection import open_writer
from engine.store.database import Database
from engine.store.migration import MIGRATIONS, migrate
from engine.store.selection import Selection
from engine.tools import embedding, memory

REQUEST = Request(id=1, method="")
MODELS = {"a-model": 64, "b-model": 64, "c-model": 128}


def vector(text: str, model: str) -> bytes:
    """Return a vector that depends on the text and the model alone."""
    seed = [*text.encode(), *model.encode()]
    numbers = np.random.default_rng(seed).standard_normal(MODELS[model])
    return (numbers / np.linalg.norm(numbers)).astype("<f4").tobytes()


def embedded(text: str, model: str) -> Embedding:
    return Embedding(model, [Passage(0, len(text), vector(text, model)), Passage(0, 1, vector(text[:1], model))])


def query(text: str, model: str) -> Embedding:
    return Embedding(model, [Passage(0, len(text), vector(text, model))])


def create(database: Database, text: str, model: str | None = None) -> int:
    request = Request(id=1, method="", embeddings=[embedded(text, model)] if model else [])
    with database.write_group(), database.savepoint():
        return memory.create(database, MemoryCreate(content=text), request).id


def pump(database: Database, model: str, *, limit: int = 2) -> Stored | None:
    """Do what the gateway's pump does in one round; ``None`` when there was nothing to do."""
    pending = embedding.pending_texts(database, PendingTexts(model=model, limit=limit), REQUEST)
    if not pending.texts and not pending.unsettled:
        return None
    keys = [(text.id, text.content_hash) for text in pending.texts]
    request = Request(id=1, method="", embeddings=[embedded(text.content, model) for text in pending.texts])
    with database.write_group(), database.savepoint():
        return embedding.store_embeddings(database, EmbeddingsStore(texts=keys, model=model), request)


def nearest(database: Database, text: str, model: str) -> int | None:
    found, _ = meaning.nearest(database.image, query(text, model), Selection(), limit=1, now=database.now())
    return next(iter(found), None)


def models_here(connection: apsw.Connection) -> dict[str, int]:
    """Return how many passages there are of each model."""
    rows = connection.execute(
        "SELECT e.name, count(p.id) FROM embedding_models AS e LEFT JOIN passages AS p ON p.model_id = e.id GROUP BY e.id"
    )
    return {str(name): int(count) for name, count in rows}


def test_a_text_is_found_by_either_model_while_one_takes_over(database: Database) -> None:
    texts = [f"text {number}" for number in range(7)]
    ids = [create(database, text, "a-model") for text in texts]
    searched = set()
    while (round_ := pump(database, "b-model")) is not None:
        model = passages.model(database.connection)
        assert model is not None
        searched.add(model)
        assert passages.next_model(database.connection) == (None if model == "b-model" else "b-model")
        assert [nearest(database, text, model) for text in texts] == ids
        assert round_.pending == passages.pending_count(database.connection)

    assert searched == {"a-model", "b-model"}
    assert models_here(database.connection) == {"b-model": 14}
    assert embedding_models.following(database.connection) is None


def test_in_a_change_new_texts_speak_the_model_that_is_searched(database: Database) -> None:
    for number in range(5):
        create(database, f"text {number}", "a-model")
    pump(database, "b-model")
    with pytest.raises(RemoteError) as refused:
        create(database, "new", "b-model")
    new = create(database, "new", "a-model")

    assert refused.value.code == ErrorCode.WRONG_MODEL
    assert refused.value.details == {"model": "a-model"}
    assert nearest(database, "new", "a-model") == new
    while pump(database, "b-model") is not None:
        pass
    assert nearest(database, "new", "b-model") == new
    assert nearest(database, "text 3", "b-model") == 4


def test_a_model_of_other_dimensions_may_take_over(database: Database) -> None:
    text = create(database, "text", "a-model")
    while pump(database, "c-model") is not None:
        pass

    assert nearest(database, "text", "c-model") == text
    assert models_here(database.connection) == {"c-model": 2}


def test_obsolete_vectors_are_erased_in_pieces(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_models, "ERASED_MAX", 3)
    for number in range(4):
        create(database, f"text {number}", "a-model")
    left = []
    while pump(database, "b-model", limit=100) is not None:
        left.append(models_here(database.connection).get("a-model"))

    assert left == [5, 2, 0, None]


def test_a_database_without_texts_takes_any_model(database: Database) -> None:
    only = create(database, "text", "a-model")
    with database.write_group():
        memory.delete(database, MemoryDelete(id=only), REQUEST)
    while pump(database, "b-model") is not None:
        pass

    assert passages.model(database.connection) is None
    assert nearest(database, "other", "b-model") is None
    other = create(database, "other", "b-model")
    assert nearest(database, "other", "b-model") == other


def test_vectors_of_two_models_in_one_request_are_refused(database: Database) -> None:
    ids = [create(database, text) for text in ("one", "two")]
    keys = [(text.id, text.content_hash) for text in passages.pending(database.connection, 2)]
    request = Request(id=1, method="", embeddings=[embedded("one", "a-model"), embedded("two", "b-model")])
    with pytest.raises(RemoteError) as refused, database.write_group():
        embedding.store_embeddings(database, EmbeddingsStore(texts=keys), request)

    assert refused.value.details == {"field": "model"}
    assert [text.id for text in passages.pending(database.connection, 9)] == ids


def test_texts_of_no_model_come_first(database: Database) -> None:
    old = create(database, "old", "a-model")
    new = create(database, "new")

    assert [text.id for text in passages.pending(database.connection, 9, "b-model")] == [new, old]
    assert [text.id for text in passages.pending(database.connection, 9, "a-model")] == [new]


def test_a_database_of_the_first_schema_keeps_its_vectors(tmp_path: Path) -> None:
    connection = open_writer(tmp_path / "memory.db")
    migrate(connection, MIGRATIONS[:1])
    connection.execute("INSERT INTO properties VALUES ('embedding_model', 'a-model'), ('embedding_dimensions', '64')")
    for number in range(1, 4):
        connection.execute(
            "INSERT INTO memories (id, content, content_hash, type, tags, metadata, importance, workspace, scope_type, tier,"
            " version, created_at, updated_at, embedding_model)"
            " VALUES (?, ?, ?, 'note', '[]', '{}', .5, 'default', 'global', 'permanent', 1, 1, 1, 'a-model')",
            (number, f"text {number}", f"hash {number}"),
        )
        connection.execute(
            "INSERT INTO passages (memory_id, start_char, end_char, vector) VALUES (?, 0, 6, ?)",
            (number, vector(f"text {number}", "a-model")),
        )
    connection.close()

    with Database(tmp_path / "memory.db") as database:
        assert passages.model(database.connection) == "a-model"
        assert [nearest(database, f"text {number}", "a-model") for number in range(1, 4)] == [1, 2, 3]
        new = create(database, "new", "a-model")
        assert nearest(database, "new", "a-model") == new
        while pump(database, "b-model") is not None:
            pass
        assert models_here(database.connection) == {"b-model": 8}


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("pump"), st.sampled_from(sorted(MODELS))),
        st.tuples(st.just("create"), st.sampled_from([*sorted(MODELS), ""])),
        st.tuples(st.just("update"), st.integers(1, 12)),
        st.tuples(st.just("delete"), st.integers(1, 12)),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(_steps, st.sampled_from(sorted(MODELS)))
def test_whatever_changes_on_the_way_in_the_end_every_text_has_the_last_models_vectors(
    steps: list[tuple[str, str | int]], last: str
) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory() as folder,
        Database(Path(folder) / "memory.db") as database,
    ):
        patch.setattr(embedding_models, "ERASED_MAX", 3)
        for number, (step, given) in enumerate(steps):
            _do(database, number, step, given)
            _check(database)
        for _ in range(200):
            if pump(database, last) is None:
                break
            _check(database)

        connection = database.connection
        living = dict(connection.execute("SELECT id, content FROM memories WHERE deleted_at IS NULL").fetchall())
        assert models_here(connection) in ([{last: 2 * len(living)}] if living else [{}, {last: 0}])
        assert passages.pending_count(connection) == 0
        for memory_id, content in living.items():
            assert nearest(database, content, last) == memory_id


def _do(database: Database, number: int, step: str, given: str | int) -> None:
    if isinstance(given, int):
        try:
            with database.write_group(), database.savepoint():
                if step == "update":
                    memory.update(database, MemoryUpdate(id=given, content=f"changed {number}"), REQUEST)
                else:
                    memory.delete(database, MemoryDelete(id=given), REQUEST)
        except RemoteError as error:
            assert error.code == ErrorCode.NOT_FOUND
    elif step == "pump":
        pump(database, given)
    else:
        held = passages.model(database.connection)
        create(database, f"text {number}", given if given and held in (None, given) else None)


def _check(database: Database) -> None:
    """What is searched is one model's, and codes are beside every vector."""
    connection = database.connection
    assert connection.execute("SELECT count(*) FROM embedding_models WHERE role = 'active'").get <= 1
    assert (
        connection.execute(
            "SELECT count(*) FROM passages AS p LEFT JOIN passage_codes AS c USING (id, memory_id, model_id) WHERE c.id IS NULL"
        ).get
        == 0
    )
    assert (
        connection.execute("SELECT count(*) FROM passages").get == connection.execute("SELECT count(*) FROM passage_codes").get
    )
    # A text that counts as embedded by the model that is searched has its vectors.
    assert (
        connection.execute(
            "SELECT count(*) FROM memories AS m JOIN embedding_models AS e ON e.name = m.embedding_model AND e.role = 'active'"
            " WHERE NOT EXISTS (SELECT 1 FROM passages AS p WHERE p.memory_id = m.id AND p.model_id = e.id)"
        ).get
        == 0
    )
