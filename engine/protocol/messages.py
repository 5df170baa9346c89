"""What travels in a frame.

A server greets each connection with ``Hello`` (so that a client knows its request has not been lost in the backlog of a
process that was ending), answers each ``Request`` with one ``Reply`` or a run of chunks, and says ``going_away`` before it
drains: a client then sends nothing more on that connection.

Unknown fields are ignored and missing ones have defaults, so that either end may be a version older or newer.
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine.protocol.limits import DEADLINE_DEFAULT_MS, PROTOCOL_VERSION


class Hello(msgspec.Struct, omit_defaults=True):
    """The server's first frame on every connection."""

    service: str = ""
    protocol: int = PROTOCOL_VERSION
    pending_embeddings: int = 0
    """Texts this engine holds without a vector; above zero, whoever embeds should ask for them."""


class Limits(msgspec.Struct, omit_defaults=True, frozen=True):
    """What the caller's plan allows to be stored in this database. ``None`` is no limit."""

    memories: int | None = None
    storage_bytes: int | None = None
    backups_kept_s: int | None = None
    """For how many seconds backups hold what was purged; ``None``: there are none, or the gateway is older and does not say."""


class Caller(msgspec.Struct, omit_defaults=True, frozen=True):
    """Who asks: never a secret, only what the engine must decide by or record."""

    key_id: str = ""
    scopes: tuple[str, ...] = ()
    limits: Limits = Limits()


class Passage(msgspec.Struct, array_like=True, frozen=True):
    """A stretch of a text and its vector.

    ``start`` and ``end`` count characters of the text, end exclusive; ``vector`` is little-endian float32, of unit length.
    """

    start: int
    end: int
    vector: bytes


class Embedding(msgspec.Struct, frozen=True):
    """One text as its passages; a query has exactly one. Vectors of different models are never compared."""

    model: str
    passages: list[Passage]


class Request(msgspec.Struct, omit_defaults=True):
    """One call. ``embeddings`` are the vectors of the texts in ``params``, in the order the method documents."""

    id: int
    method: str
    params: msgspec.Raw = msgspec.Raw(b"\x80")
    embeddings: list[Embedding] = []
    deadline_ms: int = DEADLINE_DEFAULT_MS
    caller: Caller = Caller()
    trace: str = ""
    idempotency_key: str = ""
    """Names a write: however often it is sent, it is carried out once, and answered the same."""


class ReplyError(msgspec.Struct, omit_defaults=True):
    """The wire form of ``RemoteError``."""

    code: str
    message: str
    details: dict[str, Any] = {}


class Reply(msgspec.Struct, omit_defaults=True):
    """One answer: exactly one of result, error, chunk or end is meant; id 0 belongs to the connection, not to a request."""

    id: int = 0
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: ReplyError | None = None
    chunk: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    end: bool = False
    hello: Hello | None = None
    going_away: bool = False
