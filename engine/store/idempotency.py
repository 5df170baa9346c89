"""Answers of writes that may be sent twice, stored in the same transaction as what they did.

A purge, or the end of a memory that expires, takes back the answers that show it, not the knowledge that the request was
carried out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import apsw
import msgspec

from engine.catalogue.memory import Memory
from engine.protocol import ErrorCode, RemoteError, Request

KEPT_SECONDS = 24 * 60 * 60

_RECALL = "SELECT fingerprint, answer FROM idempotent_requests WHERE key = ? AND created_at > ?"
_SHOWS_WHAT_IS_GONE = """
    SELECT 1 FROM idempotent_memories AS i LEFT JOIN memories AS m ON m.id = i.memory_id
    WHERE i.key = ? AND (m.id IS NULL OR m.expires_at <= ?) LIMIT 1
"""
_REMEMBER = "INSERT OR REPLACE INTO idempotent_requests VALUES (?, ?, ?, ?)"
_STORED = "SELECT count(*) FROM memories WHERE id IN (SELECT value FROM json_each(?))"
_REMEMBER_MEMORY = "INSERT OR IGNORE INTO idempotent_memories VALUES (?, ?)"
_FORGET = """
    UPDATE idempotent_requests SET answer = NULL
    WHERE key IN (SELECT key FROM idempotent_memories WHERE memory_id IN (SELECT value FROM json_each(?)))
"""
_DROP_OLD = """
    DELETE FROM idempotent_requests
    WHERE key IN (SELECT key FROM idempotent_requests WHERE created_at <= ? ORDER BY created_at LIMIT ?)
"""


def recall(connection: apsw.Connection, request: Request, now: int) -> msgspec.Raw | None:
    """Return what the same request was answered before; ``None`` when its key is new.

    ``idempotency_key_reused`` when another request had the key, ``not_found`` when what it made has been purged or has
    expired.
    """
    row = connection.execute(_RECALL, (request.idempotency_key, now - KEPT_SECONDS * 1_000_000)).fetchone()
    if row is None:
        return None
    fingerprint, answer = row
    if fingerprint != _fingerprint(request):
        raise RemoteError(ErrorCode.KEY_REUSED, "another request had this idempotency key", field="Idempotency-Key")
    if answer is None or connection.execute(_SHOWS_WHAT_IS_GONE, (request.idempotency_key, now)).fetchone() is not None:
        raise RemoteError(ErrorCode.NOT_FOUND, "what this request made has been purged or has expired")
    return msgspec.Raw(answer)


def remember(connection: apsw.Connection, request: Request, result: Any, answer: bytes, now: int) -> None:
    """Store the answer, which is the ``result`` encoded, for whoever sends the same request again."""
    key, shown = request.idempotency_key, set(_shown(result))
    stored: int = connection.execute(_STORED, (msgspec.json.encode(list(shown)).decode(),)).get
    kept = answer if stored == len(shown) else None  # a batch may purge what it has changed
    connection.execute(_REMEMBER, (key, _fingerprint(request), kept, now))
    connection.executemany(_REMEMBER_MEMORY, ((memory_id, key) for memory_id in shown))


def forget(connection: apsw.Connection, memory_ids: str) -> None:
    """Wipe the answers that show any of these memories (a JSON array of ids)."""
    connection.execute(_FORGET, (memory_ids,))


def drop_old(connection: apsw.Connection, now: int, limit: int) -> None:
    """Forget up to ``limit`` requests of more than 24 hours ago."""
    connection.execute(_DROP_OLD, (now - KEPT_SECONDS * 1_000_000, limit))


def _fingerprint(request: Request) -> bytes:
    # Not the vectors: whether the embedder was up when a request came says nothing about what it asks for.
    return hashlib.sha256(request.method.encode() + b"\0" + bytes(request.params)).digest()


def _shown(result: Any) -> Iterator[int]:
    """Yield the ids of all memories in a result."""
    if isinstance(result, Memory):
        yield result.id
    elif isinstance(result, msgspec.Struct):
        yield from _shown([getattr(result, name) for name in result.__struct_fields__])
    elif isinstance(result, dict):
        yield from _shown(result.values())
    elif isinstance(result, Iterable) and not isinstance(result, str | bytes):
        for item in result:
            yield from _shown(item)
