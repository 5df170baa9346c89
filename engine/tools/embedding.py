"""Giving vectors to texts that were stored without, or with another model's."""

from __future__ import annotations

from engine.catalogue.embedding import PENDING, STORE, EmbeddingsStore, Pending, PendingTexts, Stored
from engine.protocol import Request
from engine.protocol.errors import invalid
from engine.store import embedding_models, passages
from engine.store.database import Database
from engine.tools.handler import Handler

_COUNTED_MAX = 10_000
"""Whoever embeds wants to know whether there is more; counting all of a large import each time would cost more than it."""


def pending_texts(database: Database, arguments: PendingTexts, request: Request) -> Pending:
    """Return texts to embed."""
    return Pending(
        texts=passages.pending(database.connection, arguments.limit, arguments.model),
        unsettled=not embedding_models.is_settled(database.connection, arguments.model),
    )


def store_embeddings(database: Database, arguments: EmbeddingsStore, request: Request) -> Stored:
    """Take the vectors of texts that were pending, and go a step towards holding no other model's."""
    if len(arguments.texts) != len(request.embeddings):
        raise invalid("texts", "there must be one for each embedding")
    models = {embedding.model for embedding in request.embeddings} | ({arguments.model} if arguments.model else set())
    if len(models) != 1:
        raise invalid("model", "all vectors must be of one model")
    (wanted,) = models
    connection = database.connection
    stored = passages.store(connection, arguments.texts, request.embeddings)
    embedding_models.advance(connection, wanted)
    return Stored(
        stored=stored,
        pending=embedding_models.pending_count(connection, wanted, limit=_COUNTED_MAX),
        unsettled=not embedding_models.is_settled(connection, wanted),
    )


HANDLERS: dict[str, Handler] = {PENDING.name: pending_texts, STORE.name: store_embeddings}
