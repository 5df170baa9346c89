"""Vectors: each memory's passages, which texts still lack them, and which memories lie nearest to a query.

A database holds vectors of one model. The first that arrive decide which; others are refused, never mixed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import apsw
import msgspec

from engine.catalogue.embedding import PendingText
from engine.protocol import Embedding, ErrorCode, RemoteError
from engine.recall.fusion import Spread
from engine.store.selection import Selection

_FLOAT_BYTES = 4

_MODEL = "SELECT value FROM properties WHERE name = 'embedding_model'"
_DIMENSIONS = "SELECT value FROM properties WHERE name = 'embedding_dimensions'"
_SET_PROPERTY = "INSERT INTO properties VALUES (?, ?)"
_INSERT = "INSERT INTO passages (memory_id, start_char, end_char, vector) VALUES (?, ?, ?, ?)"
_REMOVE = "DELETE FROM passages WHERE memory_id = ?"
_MARK = "UPDATE memories SET embedding_model = ? WHERE id = ?"
_IS_CURRENT = "SELECT 1 FROM memories WHERE id = ? AND content_hash = ? AND deleted_at IS NULL"
_PENDING = (
    "SELECT id, content_hash, content FROM memories WHERE embedding_model IS NULL AND deleted_at IS NULL ORDER BY id LIMIT ?"
)
_PENDING_COUNT = "SELECT count(*) FROM memories WHERE embedding_model IS NULL AND deleted_at IS NULL"

_COSINE = "1.0 - vec_distance_cosine(p.vector, ?)"
_NEAREST = f"""
    WITH scored AS MATERIALIZED (
        SELECT p.memory_id, max({_COSINE}) AS cosine, p.start_char, p.end_char
        FROM passages AS p JOIN memories AS m ON m.id = p.memory_id WHERE {{condition}} GROUP BY p.memory_id
    ), spread AS MATERIALIZED (SELECT count(*), avg(cosine), avg(cosine * cosine) FROM scored)
    SELECT * FROM scored, spread ORDER BY cosine DESC, memory_id DESC LIMIT ?
"""  # noqa: S608
_NEARNESS = f"""
    SELECT p.memory_id, max({_COSINE}), p.start_char, p.end_char
    FROM passages AS p WHERE p.memory_id IN (SELECT value FROM json_each(?)) GROUP BY p.memory_id
"""  # noqa: S608


@dataclass(frozen=True, kw_only=True)
class Nearness:
    """A memory's best passage for a query: its cosine, and where in the content it stands, in characters."""

    cosine: float
    start: int
    end: int


def model(connection: apsw.Connection) -> str | None:
    """Return the name of the model whose vectors the file holds, or ``None`` before the first."""
    row = connection.execute(_MODEL).fetchone()
    return None if row is None else str(row[0])


def replace(connection: apsw.Connection, memory_id: int, embedding: Embedding) -> None:
    """Make ``embedding`` the vectors of one memory."""
    _admit(connection, embedding)
    connection.execute(_REMOVE, (memory_id,))
    connection.executemany(_INSERT, ((memory_id, p.start, p.end, p.vector) for p in embedding.passages))
    connection.execute(_MARK, (embedding.model, memory_id))


def remove(connection: apsw.Connection, memory_id: int) -> None:
    """Drop a memory's vectors: its text has changed, or is gone. It is then pending."""
    connection.execute(_REMOVE, (memory_id,))
    connection.execute(_MARK, (None, memory_id))


def store(connection: apsw.Connection, texts: Iterable[tuple[int, str]], embeddings: Iterable[Embedding]) -> int:
    """Store vectors made for pending ``texts`` (id, content hash); skip texts that changed meanwhile. Return how many."""
    stored = 0
    for (memory_id, content_hash), embedding in zip(texts, embeddings, strict=True):
        if connection.execute(_IS_CURRENT, (memory_id, content_hash)).fetchone() is not None:
            replace(connection, memory_id, embedding)
            stored += 1
    return stored


def pending(connection: apsw.Connection, limit: int) -> list[PendingText]:
    """Return up to ``limit`` texts that lack vectors, oldest id first."""
    return [PendingText(*row) for row in connection.execute(_PENDING, (limit,))]


def pending_count(connection: apsw.Connection) -> int:
    """Return how many texts lack vectors."""
    return int(connection.execute(_PENDING_COUNT).get)


def nearest(
    connection: apsw.Connection, query: Embedding, selection: Selection, *, limit: int, now: int
) -> tuple[dict[int, Nearness], Spread]:
    """Return the ``limit`` selected memories nearest to the query, by exact cosine over all their passages.

    With them comes the spread of the cosines of all selected memories, each counted once, with its best passage.
    """
    vector = check_query(connection, query)
    if vector is None:
        return {}, Spread()
    condition, parameters = selection.condition(now)
    rows: list[tuple[Any, ...]] = connection.execute(
        _NEAREST.format(condition=condition), (vector, *parameters, limit)
    ).fetchall()
    if not rows:
        return {}, Spread()
    count, mean, mean_square = rows[0][4:]
    deviation = math.sqrt(max(0.0, mean_square - mean * mean))
    found = {row[0]: Nearness(cosine=row[1], start=row[2], end=row[3]) for row in rows}
    return found, Spread(count=count, mean=mean, deviation=deviation)


def nearness(connection: apsw.Connection, query: Embedding, ids: Iterable[int]) -> dict[int, Nearness]:
    """Return the nearness of given memories; those without vectors are left out."""
    vector = check_query(connection, query)
    if vector is None:
        return {}
    rows: list[tuple[Any, ...]] = connection.execute(_NEARNESS, (vector, msgspec.json.encode(list(ids)).decode())).fetchall()
    return {row[0]: Nearness(cosine=row[1], start=row[2], end=row[3]) for row in rows}


def check_query(connection: apsw.Connection, query: Embedding) -> bytes | None:
    """Return the query's vector, or ``None`` when nothing is embedded yet; ``wrong_model`` when it can't be compared."""
    held = model(connection)
    if held is None:
        return None
    if held != query.model or len(query.passages) != 1:
        raise wrong_model(held, query.model)
    vector = query.passages[0].vector
    _check_vector(vector, _dimensions(connection))
    return vector


def _admit(connection: apsw.Connection, embedding: Embedding) -> None:
    if not embedding.passages:
        raise RemoteError(ErrorCode.INVALID, "an embedding needs at least one passage")
    held = model(connection)
    if held is None:
        dimensions = len(embedding.passages[0].vector) // _FLOAT_BYTES
        connection.execute(_SET_PROPERTY, ("embedding_model", embedding.model))
        connection.execute(_SET_PROPERTY, ("embedding_dimensions", str(dimensions)))
    elif held != embedding.model:
        raise wrong_model(held, embedding.model)
    dimensions = _dimensions(connection)
    for passage in embedding.passages:
        _check_vector(passage.vector, dimensions)


def _dimensions(connection: apsw.Connection) -> int:
    return int(connection.execute(_DIMENSIONS).get)


def _check_vector(vector: bytes, dimensions: int) -> None:
    if len(vector) != dimensions * _FLOAT_BYTES or not vector:
        raise RemoteError(ErrorCode.INVALID, f"a vector must have {dimensions} float32 values")


def wrong_model(held: str | None, given: str) -> RemoteError:
    """Return the refusal of vectors, or of a query, of a model other than the one held."""
    return RemoteError(ErrorCode.WRONG_MODEL, f"this database holds vectors of {held}, not of {given}", model=held)
