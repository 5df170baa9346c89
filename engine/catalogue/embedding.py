"""How texts without vectors get them: whoever embeds asks for the pending texts and brings back their passages."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from engine.catalogue.memory import CONTENT_BYTES_MAX
from engine.catalogue.operation import Arguments, Operation

PENDING_TEXTS_MAX = 256
"""Asked for at once, and answered: whoever embeds has work for seconds with them."""


class PendingTexts(Arguments):
    """Arguments of ``pending_texts``. ``model`` is the one that will embed: texts that lack its vectors are pending."""

    model: str
    limit: Annotated[int, Meta(ge=1, le=PENDING_TEXTS_MAX)] = 64


class PendingText(msgspec.Struct, array_like=True):
    """A text to embed. The hash comes back with the vectors: a text changed meanwhile stays pending."""

    id: int
    content_hash: Annotated[str, Meta(max_length=128)]
    content: Annotated[str, Meta(max_length=CONTENT_BYTES_MAX)]


class Pending(msgspec.Struct, omit_defaults=True):
    """Some of the pending texts, those of no model first, else oldest first."""

    texts: Annotated[list[PendingText], Meta(max_length=PENDING_TEXTS_MAX)]
    unsettled: bool = False
    """Whether another model's vectors are here, so that ``embeddings_store`` has work to do even without texts."""


class EmbeddingsStore(Arguments):
    """Arguments of ``embeddings_store``: one key per embedding of the request, in the same order."""

    texts: list[tuple[int, str]]
    """Each memory's id and content hash."""
    model: str = ""
    """The model that all vectors are to be of. When every text has them, it is searched, and others' are erased."""


class Stored(msgspec.Struct, omit_defaults=True):
    """How many were stored, and how many texts are still pending, counted up to a bound."""

    stored: int
    pending: int
    unsettled: bool = False
    """Whether vectors of other models are still to be erased, or to be given up."""


PENDING = Operation(name="pending_texts", arguments=PendingTexts, result=Pending, kind="read")
STORE = Operation(name="embeddings_store", arguments=EmbeddingsStore, result=Stored, kind="write")
