"""One tenant's files in the object store: put, listed, read, each with what is known of it. Sealed where there are keys.

Everybody who touches LTX objects goes through here, so that sealing, names and metadata are in one place. Blocking.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from engine.ltx import LtxError
from tenants.replica import layout
from tenants.replica.objects import ObjectExists, ObjectStore, Stored, StoreUnavailable

_NAMES = {
    "timestamp_ms": "engram-timestamp",
    "batch": "engram-batch",
    "previous": "engram-previous",
    "epoch": "engram-epoch",
    "checksum": "engram-checksum",
    "pages": "engram-pages",
    "whole": "engram-whole",
}
"""Metadata of an object. ``litestream-timestamp`` is beside them, as Litestream writes it."""

_MEMORY_BYTES_MAX = 8 * 2**20
"""What is sealed in memory; more goes through a file."""


class NotOurs(Exception):
    """An object is not such as we write."""


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    """What goes with a file as metadata."""

    timestamp_ms: int
    """Of its last transaction: when it was captured."""
    batch: str
    """SHA-256 of the file as it was before sealing, in hex: who finds its own there knows that only the answer was lost."""
    previous: str
    """The ``batch`` of the file before it in level 0: a chain. Empty for the first, and in other levels."""
    epoch: int
    """The owner's, when it was put."""
    checksum: int
    """Of the database after it; also in the file, as its header's node id."""
    pages: int
    """Size of the database after it."""
    whole: bool
    """Whether it holds every page: with it, nothing before it is needed."""

    def to_metadata(self) -> dict[str, str]:
        """Return it as an object carries it."""
        written = datetime.fromtimestamp(self.timestamp_ms / 1000, UTC)
        return {
            "litestream-timestamp": written.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            _NAMES["timestamp_ms"]: str(self.timestamp_ms),
            _NAMES["batch"]: self.batch,
            _NAMES["previous"]: self.previous,
            _NAMES["epoch"]: str(self.epoch),
            _NAMES["checksum"]: f"{self.checksum:016x}",
            _NAMES["pages"]: str(self.pages),
            _NAMES["whole"]: "1" if self.whole else "0",
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> FileInfo:
        """Return it; ``NotOurs`` where something is missing or no number."""
        try:
            return cls(
                timestamp_ms=int(metadata[_NAMES["timestamp_ms"]]),
                batch=metadata[_NAMES["batch"]],
                previous=metadata.get(_NAMES["previous"], ""),
                epoch=int(metadata[_NAMES["epoch"]]),
                checksum=int(metadata[_NAMES["checksum"]], 16),
                pages=int(metadata[_NAMES["pages"]]),
                whole=metadata[_NAMES["whole"]] == "1",
            )
        except (KeyError, ValueError) as error:
            raise NotOurs(str(error)) from error


@dataclass(frozen=True, kw_only=True, order=True)
class Entry:
    """A file in a listing."""

    min_txid: int
    max_txid: int
    level: int
    size: int


class Sealing(Protocol):
    """Makes objects unreadable without the tenant's key. ``name`` is bound to the content: objects can't change places."""

    def seal(self, name: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the sealed form."""
        ...

    def unseal(self, name: str, metadata: Mapping[str, str], pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what was sealed; ``StoreUnavailable`` if it breaks off, ``Tampered`` (tenants.replica.sealing) if it is not.

        An object that was stored before sealing was switched on has no key's id in its ``metadata``.
        """
        ...

    def metadata(self) -> dict[str, str]:
        """Return what must at least stand beside a sealed object: the key's id."""
        ...

    def seal_metadata(self, name: str, metadata: Mapping[str, str]) -> dict[str, str]:
        """Return what stands beside a sealed object of which this is known: the key's id, and the rest unreadable."""
        ...

    def unseal_metadata(self, name: str, metadata: Mapping[str, str]) -> Mapping[str, str]:
        """Return what is known of an object; ``Tampered`` if it was changed, or belongs to another name."""
        ...


class Tree:
    """One tenant's."""

    def __init__(self, store: ObjectStore, tenant: str, sealing: Sealing | None, *, spool: Path) -> None:
        """``sealing``: ``None`` where objects are stored as they are. ``spool``: a folder for what is too large for memory."""
        self.store = store
        self.tenant = tenant
        self._sealing = sealing
        self._spool = spool

    def put(self, level: int, min_txid: int, max_txid: int, body: bytes | Path, info: FileInfo) -> None:
        """Create a file; ``ObjectExists`` when there is one, whoever made it."""
        key = layout.ltx_key(self.tenant, level, min_txid, max_txid)
        metadata = info.to_metadata()
        if self._sealing is None:
            self.store.create(key, body, metadata)
            return
        metadata = self._sealing.seal_metadata(key, metadata)
        if isinstance(body, bytes) and len(body) <= _MEMORY_BYTES_MAX:
            self.store.create(key, b"".join(self._sealing.seal(key, [body])), metadata)
            return
        with _sealed_file(self._sealing, key, body, self._spool) as sealed:
            self.store.create(key, sealed, metadata)

    def put_or_find(self, level: int, min_txid: int, max_txid: int, body: bytes | Path, info: FileInfo) -> None:
        """Create a file, or find that it was created: an answer may have been lost. ``ObjectExists`` for another's."""
        try:
            self.put(level, min_txid, max_txid, body, info)
        except ObjectExists:
            found = self.info(level, min_txid, max_txid)
            if found is None:  # it was there a moment ago; ask again later
                raise StoreUnavailable("an object came and went") from None
            if found.batch != info.batch:
                raise

    def info(self, level: int, min_txid: int, max_txid: int) -> FileInfo | None:
        """Return what goes with a file, ``None`` if there is none. One HEAD."""
        key = layout.ltx_key(self.tenant, level, min_txid, max_txid)
        stored = self.store.head(key)
        return None if stored is None else self._info(key, stored)

    @contextmanager
    def open(self, level: int, min_txid: int, max_txid: int) -> Iterator[tuple[FileInfo, Iterator[bytes]]]:
        """Read a file, unsealed; ``ObjectMissing``. Whoever reads it to its end checks ``batch``."""
        key = layout.ltx_key(self.tenant, level, min_txid, max_txid)
        with self.store.open(key) as opened:
            pieces = (
                opened.pieces if self._sealing is None else self._sealing.unseal(key, opened.stored.metadata, opened.pieces)
            )
            yield self._info(key, opened.stored), pieces

    def _info(self, key: str, stored: Stored) -> FileInfo:
        metadata = stored.metadata
        return FileInfo.from_metadata(metadata if self._sealing is None else self._sealing.unseal_metadata(key, metadata))

    def entries(self, level: int, *, after_txid: int = 0) -> Iterator[Entry]:
        """Yield a level's files whose first transaction is greater than ``after_txid``, in order. Strange names are left out.

        Snapshots all begin with 1 and come in the order of their last transaction.
        """
        prefix = layout.level_prefix(self.tenant, level)
        after = f"{prefix}{after_txid:016x}-{'f' * 16}.ltx" if after_txid else ""
        for listed in self.store.list(prefix, after=after):
            try:
                min_txid, max_txid = layout.parse_ltx_key(listed.key)
            except LtxError:
                continue
            yield Entry(min_txid=min_txid, max_txid=max_txid, level=level, size=listed.size)

    def delete(self, entries: Iterable[Entry]) -> None:
        """Remove files."""
        self.store.delete(layout.ltx_key(self.tenant, entry.level, entry.min_txid, entry.max_txid) for entry in entries)


def digest_of(pieces: Iterable[bytes]) -> str:
    """Return the SHA-256 of a file, in hex: its ``batch``."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


@contextmanager
def _sealed_file(sealing: Sealing, key: str, body: bytes | Path, spool: Path) -> Iterator[Path]:
    path = spool / f"sealed-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    try:
        with path.open("wb") as file:
            for piece in sealing.seal(key, [body] if isinstance(body, bytes) else _pieces_of(body)):
                file.write(piece)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _pieces_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(256 * 1024):
            yield piece
