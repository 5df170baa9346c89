"""Passages: each memory's stretches of text with their vectors, and which texts still lack vectors."""

from __future__ import annotations

from collections.abc import Iterable

import apsw

from engine.catalogue.embedding import PendingText
from engine.protocol import Embedding
from engine.store import embedding_models, vector_code
from engine.store.embedding_models import EmbeddingModel

_INSERT_CODE = "INSERT INTO passage_codes (memory_id, model_id, code) VALUES (?, ?, ?)"
_INSERT = "INSERT INTO passages (id, memory_id, start_char, end_char, vector, model_id) VALUES (?, ?, ?, ?, ?, ?)"
_REMOVE = "DELETE FROM passages WHERE memory_id = ?"
_REMOVE_OF_MODEL = f"{_REMOVE} AND model_id = ?"
_MARK = "UPDATE memories SET embedding_model = ? WHERE id = ?"
_IS_CURRENT = "SELECT 1 FROM memories WHERE id = ? AND content_hash = ? AND deleted_at IS NULL"


def model(connection: apsw.Connection) -> str | None:
    """Return the name of the model that is searched, or ``None`` before the first vector."""
    held = embedding_models.active(connection)
    return None if held is None else held.name


def next_model(connection: apsw.Connection) -> str | None:
    """Return the name of the model whose vectors are being filled in, to be searched when no text lacks them."""
    coming = embedding_models.following(connection)
    return None if coming is None else coming.name


def replace(connection: apsw.Connection, memory_id: int, embedding: Embedding) -> None:
    """Make ``embedding`` the vectors of one memory; ``wrong_model`` when it is of another model than the one searched."""
    held = embedding_models.for_writing(connection, embedding)
    connection.execute(_REMOVE, (memory_id,))
    _insert(connection, memory_id, embedding, held)


def remove(connection: apsw.Connection, memory_id: int) -> None:
    """Drop a memory's vectors, whosever: its text has changed, or is gone. It is then pending."""
    connection.execute(_REMOVE, (memory_id,))
    connection.execute(_MARK, (None, memory_id))


def store(connection: apsw.Connection, texts: Iterable[tuple[int, str]], embeddings: Iterable[Embedding]) -> int:
    """Store vectors made for pending ``texts`` (id, content hash); skip texts that changed meanwhile. Return how many."""
    stored = 0
    for (memory_id, content_hash), embedding in zip(texts, embeddings, strict=True):
        held = embedding_models.for_filling(connection, embedding)
        if connection.execute(_IS_CURRENT, (memory_id, content_hash)).fetchone() is not None:
            connection.execute(_REMOVE_OF_MODEL, (memory_id, held.id))
            _insert(connection, memory_id, embedding, held)
            stored += 1
    return stored


def pending(connection: apsw.Connection, limit: int, wanted: str | None = None) -> list[PendingText]:
    """Return up to ``limit`` texts that lack vectors of the ``wanted`` model, or of the one that all are to have."""
    parameters = {"model": wanted or next_model(connection) or model(connection), "limit": limit}
    return [PendingText(*row) for row in connection.execute(embedding_models.PENDING, parameters)]


def pending_count(connection: apsw.Connection) -> int:
    """Return how many texts lack vectors, of the next model while there is one."""
    return embedding_models.pending_count(connection, next_model(connection) or model(connection))


def _insert(connection: apsw.Connection, memory_id: int, embedding: Embedding, held: EmbeddingModel) -> None:
    for passage in embedding.passages:
        connection.execute(_INSERT_CODE, (memory_id, held.id, vector_code.encode(passage.vector)))
        passage_id = connection.last_insert_rowid()
        connection.execute(_INSERT, (passage_id, memory_id, passage.start, passage.end, passage.vector, held.id))
    connection.execute(_MARK, (embedding.model, memory_id))
