"""The error codes of the protocol, and the one exception that carries them.

A code is stable: clients act on it. The message is for a person. Whatever an engine did not foresee is ``internal``, and
its detail stays in the engine's log.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class ErrorCode(StrEnum):
    """What went wrong, in one word. The comment says what the caller should do."""

    INVALID = "invalid"  # correct the field named in details and send again
    NOT_FOUND = "not_found"  # there is no such thing for this caller
    TOO_LARGE = "too_large"  # send less
    DUPLICATE = "duplicate"  # the memory named in details says it already, and the caller wanted no second
    VERSION_MISMATCH = "version_mismatch"  # it has changed meanwhile: read it again, then decide
    KEY_REUSED = "idempotency_key_reused"  # another request had that key; use a new one
    QUOTA_EXCEEDED = "quota_exceeded"  # delete something or raise the plan
    WRONG_MODEL = "wrong_model"  # embed again with the model named in details
    UNKNOWN_METHOD = "unknown_method"  # the peer is older; do without
    DEADLINE_EXCEEDED = "deadline_exceeded"  # nothing was changed; try again later
    DRAINING = "draining"  # never executed; ask for the engine again
    OVERLOADED = "overloaded"  # never executed; wait
    TOO_MANY = "too_many"  # never executed; this caller has too much under way: wait for some of it
    UNAVAILABLE = "unavailable"  # the process behind the socket could not be reached
    LOST = "lost"  # the connection ended before the reply: the outcome is unknown
    BROKEN = "broken"  # the peer broke the protocol or answers nonsense: don't ask it again, the outcome is unknown
    DATABASE_CORRUPT = "database_corrupt"  # the file is damaged and set aside; it must be restored
    MOVED = "moved"  # another node serves it, or took it from this one: nothing was changed; ask again in a moment
    DISK_FULL = "disk_full"  # the node's disk, not the plan: nothing was changed
    INTERNAL = "internal"  # a defect of ours


class RemoteError(Exception):
    """An error that travels over the protocol.

    ``details`` holds only what the client may see: the field at fault, the limit reached, seconds to wait.
    """

    def __init__(self, code: ErrorCode, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


DATABASE_CORRUPT_RETRY_S = 300
"""A restore takes an operator: who asks every second is only refused every second."""


def database_corrupt() -> RemoteError:
    """Return the answer to whatever is asked of a database that has been set aside."""
    message = "the database is damaged and has been set aside until it is restored"
    return RemoteError(ErrorCode.DATABASE_CORRUPT, message, retry_after=DATABASE_CORRUPT_RETRY_S)


MOVED_RETRY_S = 5
"""Where the other node is can't be told; a gateway that knows, or this node if the other one ends, is found by asking again."""


def moved() -> RemoteError:
    """Return the answer to whatever is asked of a database that another node has taken."""
    return RemoteError(ErrorCode.MOVED, "another node serves this database; nothing was changed", retry_after=MOVED_RETRY_S)


def invalid(field: str, message: str) -> RemoteError:
    """Return the error for one bad field, which it names."""
    return RemoteError(ErrorCode.INVALID, f"{field}: {message}", field=field)
