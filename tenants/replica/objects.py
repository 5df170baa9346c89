"""What the replicator needs of an object store, and no more: few calls, each as S3 means it. All block; call from a thread.

A key is ASCII, parts joined by ``/``, none of which begins with a dot, and no key is a folder in another's. Metadata are short
ASCII texts under lower-case names; an empty one does not come back. ``ValueError`` for what is neither.

Two writers who create one key at once have one winner: that is what keeps history from forking.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

LIST_PAGE = 1000
"""Keys in an answer of S3's to one list request."""


class ObjectExists(Exception):
    """Create-only, and there is one already (412)."""


class ObjectChanged(Exception):
    """To replace one state, and there is another now, or none (412)."""


class ObjectMissing(Exception):
    """There is no such object (404)."""


class StoreUnavailable(Exception):
    """The store can't be reached, or fails, or says that it is busy. What was asked may have happened. Try again later."""


class StoreRefused(Exception):
    """The store does not let us (401, 403, no such bucket): trying again helps nothing until somebody changes something."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """One object in a listing."""

    key: str
    size: int
    modified_ms: int = 0
    """When the store took it, milliseconds since 1970."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """What the store knows of an object."""

    key: str
    size: int
    tag: str
    """Names this state of the object (S3's ETag), for ``replace``."""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An object that is being read."""

    stored: Stored
    pieces: Iterator[bytes]
    """All of it, or the range that was asked for; ``StoreUnavailable`` when it breaks off."""


class ObjectStore(Protocol):
    """``StoreUnavailable`` and ``StoreRefused`` may come from any call."""

    kind: str
    """``directory`` or ``s3``."""

    requests: dict[str, int]
    """How many there were, by kind: put, get, head, list, delete."""

    def create(self, key: str, body: bytes | Path, metadata: Mapping[str, str] | None = None) -> Stored:
        """Store an object unless there is one: ``ObjectExists``. A ``Path`` is streamed, in parts where it is large.

        What is there may be one's own, when an answer was lost on its way: look before taking it for another's.
        """
        ...

    def replace(self, key: str, body: bytes, *, tag: str | None, metadata: Mapping[str, str] | None = None) -> Stored:
        """Store an object if the present one is the state ``tag`` (``None``: whichever, or none): ``ObjectChanged``.

        That another has changed it is certain within one call; after ``StoreUnavailable`` it may have been oneself.
        """
        ...

    def head(self, key: str) -> Stored | None:
        """Return what is known of an object, ``None`` if there is none."""
        ...

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> AbstractContextManager[Opened]:
        """Read an object, or a range of it: ``ObjectMissing``. Behind its end there is nothing to read, which is no error."""
        ...

    def read(self, key: str, *, bytes_max: int) -> tuple[Stored, bytes]:
        """Return a small object; ``ObjectMissing``, and ``ValueError`` when it is larger."""
        ...

    def list(self, prefix: str, *, after: str = "") -> Iterator[Listed]:
        """Yield the objects whose keys begin with ``prefix`` and come behind ``after``, in the order of their keys (bytes)."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
