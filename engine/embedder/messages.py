"""What the embedder and its clients say to each other: the arguments and results of its methods."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

TEXTS_PER_REQUEST_MAX = 256
"""Texts in one request; as many as an engine hands out of its pending ones at a time."""

CHARACTERS_PER_REQUEST_MAX = 4 * 1024 * 1024
"""Characters in one request: 64 memories of the largest size, a minute and a half of work, and below a frame in any script."""

PASSAGES_PER_REQUEST_MAX = 8192
"""Passages in one answer: with 1.5 KiB each they fit a frame. Only dense scripts reach it first."""


ModelName = Annotated[str, Meta(max_length=128)]
"""Which model is to embed; empty for the one that is set. Another is used if it is on this machine already."""


Lane = Annotated[str, Meta(max_length=64)]
"""For whom this is. What waits in different lanes gets equal shares of the work; the name means nothing else here."""


class EmbedDocuments(msgspec.Struct, frozen=True):
    """Arguments of ``embed_documents``. The answer is a list of ``Embedding``, one per text, in the same order."""

    texts: Annotated[list[str], Meta(max_length=TEXTS_PER_REQUEST_MAX)]
    model: ModelName = ""
    lane: Lane = ""
    background: bool = False
    """Nobody waits for it: what somebody waits for goes first."""


class EmbedQuery(msgspec.Struct, frozen=True):
    """Arguments of ``embed_query``. The answer is an ``Embedding`` of one passage; what the model can't read is left out."""

    text: str
    model: ModelName = ""
    lane: Lane = ""


class EmbedderStatus(msgspec.Struct, frozen=True):
    """The answer of ``status``."""

    state: Literal["ready", "starting", "unavailable"]
    reason: str = ""
    """Why it is not ready, for a person."""

    model: str = ""
    dimensions: int = 0
    """0 until the model is loaded."""

    queued: int = 0
    """Passages and queries that wait for the model."""

    texts_total: int = 0
    """Passages and queries embedded since the start."""

    batches_total: int = 0
    seconds_total: float = 0.0
    """Time the model spent on them."""
