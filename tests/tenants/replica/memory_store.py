"""An object store in memory. Every request can be held up, lost, or carried out later: for what must hold in any order.

It keeps the protocol that the directory and S3 keep. ``Wire`` stands between a node and the objects: whoever writes a test
decides there what becomes of each request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenants.replica.objects import (
    Listed,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    Opened,
    Stored,
)


@dataclass
class _Object:
    body: bytes
    tag: str
    metadata: dict[str, str]
    modified_ms: int


@dataclass
class MemoryStore:
    """The objects. ``clock`` is the store's, in seconds."""

    clock: Callable[[], float] = lambda: 0.0
    is_create_only: bool = True
    """Without, ``create`` replaces what is there: a store that ignores conditions."""
    kind: str = "memory"
    requests: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("put", "get", "head", "list", "delete"), 0))
    objects: dict[str, _Object] = field(default_factory=dict)
    _writes: int = 0

    def create(self, key: str, body: bytes | Path, metadata: Mapping[str, str] | None = None) -> Stored:
        self.requests["put"] += 1
        if self.is_create_only and key in self.objects:
            raise ObjectExists(key)
        return self._write(key, body, metadata)

    def replace(self, key: str, body: bytes, *, tag: str | None, metadata: Mapping[str, str] | None = None) -> Stored:
        self.requests["put"] += 1
        if tag is not None and (key not in self.objects or self.objects[key].tag != tag):
            raise ObjectChanged(key)
        return self._write(key, body, metadata)

    def head(self, key: str) -> Stored | None:
        self.requests["head"] += 1
        return self._stored(key) if key in self.objects else None

    @contextmanager
    def open(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Opened]:
        self.requests["get"] += 1
        stored, body = self._stored(key), self.objects[key].body
        yield Opened(stored=stored, pieces=iter([body[start : None if length is None else start + length]]))

    def read(self, key: str, *, bytes_max: int) -> tuple[Stored, bytes]:
        self.requests["get"] += 1
        stored, body = self._stored(key), self.objects[key].body
        if len(body) > bytes_max:
            raise ValueError(key)
        return stored, body

    def list(self, prefix: str, *, after: str = "") -> Iterator[Listed]:
        self.requests["list"] += 1
        for key in sorted(key for key in self.objects if key.startswith(prefix) and key > after):
            yield Listed(key=key, size=len(self.objects[key].body), modified_ms=self.objects[key].modified_ms)

    def delete(self, keys: Iterable[str]) -> None:
        self.requests["delete"] += 1
        for key in keys:
            self.objects.pop(key, None)

    def close(self) -> None:
        pass

    def _write(self, key: str, body: bytes | Path, metadata: Mapping[str, str] | None) -> Stored:
        self._writes += 1
        content = body if isinstance(body, bytes) else body.read_bytes()
        self.objects[key] = _Object(content, f"{self._writes:x}", dict(metadata or {}), int(self.clock() * 1000))
        return self._stored(key)

    def _stored(self, key: str) -> Stored:
        if key not in self.objects:
            raise ObjectMissing(key)
        found = self.objects[key]
        return Stored(key=key, size=len(found.body), tag=found.tag, metadata=found.metadata)


Carrier = Callable[[str, Callable[[], Any]], Any]
"""Called with a request's kind and what carries it out; returns the answer, or raises."""


class Wire:
    """One node's way to the store: each request goes through ``carrier``."""

    def __init__(self, store: MemoryStore, carrier: Carrier) -> None:
        self._store = store
        self._carrier = carrier
        self.kind = store.kind
        self.requests = store.requests

    def create(self, key: str, body: bytes | Path, metadata: Mapping[str, str] | None = None) -> Stored:
        return self._carrier("put", lambda: self._store.create(key, body, metadata))

    def replace(self, key: str, body: bytes, *, tag: str | None, metadata: Mapping[str, str] | None = None) -> Stored:
        return self._carrier("put", lambda: self._store.replace(key, body, tag=tag, metadata=metadata))

    def head(self, key: str) -> Stored | None:
        return self._carrier("head", lambda: self._store.head(key))

    @contextmanager
    def open(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Opened]:
        def opened() -> Opened:
            with self._store.open(key, start=start, length=length) as found:
                return found

        yield self._carrier("get", opened)

    def read(self, key: str, *, bytes_max: int) -> tuple[Stored, bytes]:
        return self._carrier("get", lambda: self._store.read(key, bytes_max=bytes_max))

    def list(self, prefix: str, *, after: str = "") -> Iterator[Listed]:
        return iter(self._carrier("list", lambda: list(self._store.list(prefix, after=after))))

    def delete(self, keys: Iterable[str]) -> None:
        self._carrier("delete", lambda: self._store.delete(list(keys)))

    def close(self) -> None:
        pass
