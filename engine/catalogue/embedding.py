"""How texts without vectors get them: whoever embeds asks for the pending texts and brings back their passages."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from engine.catalogue.operation import Arguments, Operation


class PendingTexts(Arguments):
    """Arguments of ``pending_texts``. ``model`` is the one that will embed: texts that lack its vectors are pending."""

    model: str
    limit: Annotated[int, Meta(ge=1, le=256)] = 64


class PendingText(msgspec.Struct, array_like=True):
    """A text to embed. The hash comes back with the vectors: a text changed meanwhile stays pending."""

    id: int
    content_hash: str
    content: str


class Pending(msgspec.Struct):
    """Some of the pending texts, oldest first."""

    texts: list[PendingText]


class EmbeddingsStore(Arguments):
    """Arguments of ``embeddings_store``: one key per embedding of the request, in the same order."""

    texts: list[tuple[int, str]]
    """Each memory's id and content hash."""


class Stored(msgspec.Struct):
    """How many were stored, and how many texts are still pending."""

    stored: int
    pending: int


PENDING = Operation(name="pending_texts", arguments=PendingTexts, result=Pending, kind="read")
STORE = Operation(name="embeddings_store", arguments=EmbeddingsStore, result=Stored, kind="write")
