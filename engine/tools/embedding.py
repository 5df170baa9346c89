"""Giving vectors to texts that were stored without."""

from __future__ import annotations

from engine.catalogue.embedding import PENDING, STORE, EmbeddingsStore, Pending, PendingTexts, Stored
from engine.protocol import Request
from engine.protocol.errors import invalid
from engine.store import passages
from engine.store.database import Database
from engine.tools.handler import Handler


def pending_texts(database: Database, arguments: PendingTexts, request: Request) -> Pending:
    """Return texts to embed."""
    held = passages.model(database.connection)
    if held not in (None, arguments.model):
        raise passages.wrong_model(held, arguments.model)
    return Pending(texts=passages.pending(database.connection, arguments.limit))


def store_embeddings(database: Database, arguments: EmbeddingsStore, request: Request) -> Stored:
    """Take the vectors of texts that were pending."""
    if len(arguments.texts) != len(request.embeddings):
        raise invalid("texts", "there must be one for each embedding")
    stored = passages.store(database.connection, arguments.texts, request.embeddings)
    return Stored(stored=stored, pending=passages.pending_count(database.connection))


HANDLERS: dict[str, Handler] = {PENDING.name: pending_texts, STORE.name: store_embeddings}
