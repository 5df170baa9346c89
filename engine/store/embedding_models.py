"""Whose vectors a database holds: the model that is searched, the one that is to replace it, and what is left of others.

A model's vectors are never compared with another's. When vectors of a new model arrive, they are kept beside the old ones until
every text has them; then, in one transaction, the new model becomes the active one, and the old one's vectors are erased
piece by piece. Changing one's mind on the way is a change like any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import apsw

from engine.protocol import Embedding, ErrorCode, RemoteError
from engine.protocol.errors import invalid
from engine.store import vector_code
from engine.store.selection import REVEALED

ERASED_MAX = 500
"""Obsolete passages erased in one go: with 384 dimensions under a megabyte, some milliseconds of work."""

_COLUMNS = "SELECT id, name, dimensions, passages_deleted FROM embedding_models"
_BY_ROLE = f"{_COLUMNS} WHERE role = ?"
_BY_NAME = f"{_COLUMNS} WHERE name = ?"
_ADD = "INSERT INTO embedding_models (name, dimensions, role) VALUES (?, ?, ?)"
_SET_ROLE = "UPDATE embedding_models SET role = ? WHERE id = ?"
_REMOVE = "DELETE FROM embedding_models WHERE id = ?"

_SOME_PASSAGES = "SELECT id FROM passage_codes WHERE model_id = ? ORDER BY id LIMIT ?"
_FORGET = """
    UPDATE memories SET embedding_model = NULL WHERE embedding_model = ? AND id IN
        (SELECT memory_id FROM passage_codes WHERE model_id = ? ORDER BY id LIMIT ?)
"""
_ERASE = f"DELETE FROM passages WHERE id IN ({_SOME_PASSAGES})"  # noqa: S608

# By the index each, the texts of no model first: they can't be found by their meaning at all.
_WAITING = " UNION ALL ".join(
    f"SELECT {{columns}} FROM memories AS m WHERE {condition} AND m.deleted_at IS NULL AND {REVEALED}"  # noqa: S608
    for condition in ("m.embedding_model IS NULL", "m.embedding_model < :model", "m.embedding_model > :model")
)
PENDING = _WAITING.format(columns="m.id, m.content_hash, m.content") + " LIMIT :limit"
_PENDING_COUNT = f"SELECT count(*) FROM ({_WAITING.format(columns='1')} LIMIT :limit)"  # noqa: S608


@dataclass(frozen=True, kw_only=True)
class EmbeddingModel:
    """A model whose vectors are here."""

    id: int
    name: str
    dimensions: int
    passages_deleted: int
    """How many of its passages were ever deleted."""


def active(connection: apsw.Connection) -> EmbeddingModel | None:
    """Return the model that is searched, or ``None`` before the first vector."""
    return _one(connection, _BY_ROLE, "active")


def following(connection: apsw.Connection) -> EmbeddingModel | None:
    """Return the model that is to replace the active one."""
    return _one(connection, _BY_ROLE, "next")


def for_writing(connection: apsw.Connection, embedding: Embedding) -> EmbeddingModel:
    """Return the active model for vectors that come with a text; ``wrong_model`` when they are another's.

    A new text speaks the model that is searched, also while another is being filled in: so it is found from the first moment.
    """
    held = active(connection)
    if held is None:
        held = _known(connection, embedding, "active")
    elif held.name != embedding.model:
        raise wrong_model(held.name, embedding.model)
    _check(embedding, held)
    return held


def for_filling(connection: apsw.Connection, embedding: Embedding) -> EmbeddingModel:
    """Return the model of vectors made for pending texts. One that is not searched yet becomes the next."""
    held = active(connection)
    if held is None or held.name != embedding.model:
        held = _known(connection, embedding, "active" if held is None else "next")
    _check(embedding, held)
    return held


def advance(connection: apsw.Connection, wanted: str) -> None:
    """Go a bounded step towards holding vectors of the ``wanted`` model alone."""
    held, coming = active(connection), following(connection)
    if coming is not None and coming.name != wanted:
        connection.execute(_SET_ROLE, ("obsolete", coming.id))
    if held is not None and held.name != wanted and not pending_count(connection, wanted, limit=1):
        connection.execute(_SET_ROLE, ("obsolete", held.id))
        known = _one(connection, _BY_NAME, wanted)
        if known is not None:  # else nothing is stored that could have vectors
            connection.execute(_SET_ROLE, ("active", known.id))
    while (obsolete := _one(connection, _BY_ROLE, "obsolete")) is not None:
        connection.execute(_FORGET, (obsolete.name, obsolete.id, ERASED_MAX))
        connection.execute(_ERASE, (obsolete.id, ERASED_MAX))
        if connection.changes():
            return
        connection.execute(_REMOVE, (obsolete.id,))


def is_settled(connection: apsw.Connection, wanted: str) -> bool:
    """Whether no other model's vectors are here."""
    return all(name == wanted for (name,) in connection.execute("SELECT name FROM embedding_models"))


def pending_count(connection: apsw.Connection, wanted: str | None, *, limit: int = -1) -> int:
    """Return how many texts lack the ``wanted`` model's vectors; count no further than a ``limit`` given."""
    return int(connection.execute(_PENDING_COUNT, {"model": wanted, "limit": limit}).get)


def wrong_model(held: str, given: str) -> RemoteError:
    """Return the refusal of vectors, or of a query, of a model other than the one searched."""
    return RemoteError(ErrorCode.WRONG_MODEL, f"this database holds vectors of {held}, not of {given}", model=held)


def _known(connection: apsw.Connection, embedding: Embedding, role: str) -> EmbeddingModel:
    """Return the embedding's model in this role, made known if need be; what had the role is obsolete."""
    if (holder := _one(connection, _BY_ROLE, role)) is not None and holder.name != embedding.model:
        connection.execute(_SET_ROLE, ("obsolete", holder.id))
    known = _one(connection, _BY_NAME, embedding.model)
    if known is None:
        vector = embedding.passages[0].vector if embedding.passages else b""
        dimensions = len(vector) // vector_code.FLOAT_BYTES
        vector_code.check(vector, dimensions)
        connection.execute(_ADD, (embedding.model, dimensions, role))
        known = _one(connection, _BY_NAME, embedding.model)
        assert known is not None
    else:
        connection.execute(_SET_ROLE, (role, known.id))
    return known


def _check(embedding: Embedding, model: EmbeddingModel) -> None:
    if not embedding.passages:
        raise invalid("embeddings", "an embedding needs at least one passage")
    for passage in embedding.passages:
        vector_code.check(passage.vector, model.dimensions)


def _one(connection: apsw.Connection, query: str, parameter: str) -> EmbeddingModel | None:
    row = connection.execute(query, (parameter,)).fetchone()
    if row is None:
        return None
    return EmbeddingModel(id=row[0], name=row[1], dimensions=row[2], passages_deleted=row[3])
