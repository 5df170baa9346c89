"""Objects as plain files in a folder: the store of a laptop, and of a node with a disk of its own for it.

It serves one host: create-only is ``link(2)`` and compare-and-swap is ``flock(2)``, which a network's file system does not keep
between hosts. As many processes of the host as like may have it open.

Content lies at ``<root>/<key>``, but for levels (``places``): so Litestream reads a tenant's tree at
``<root>/tenants/<tenant>``. What else is known of an object lies beneath ``<root>/.metadata``, what is being written beneath
``<root>/.drafts``, the locks in ``<root>/.locks``.

An object is never visible without its metadata, whenever a process is killed: content and sidecar are written and synced under
other names, then the sidecar gets its name and lasts, then the content does. Removal goes the other way round.
"""

from __future__ import annotations

import dataclasses
import os
import stat
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path

from tenants.replica.objects import (
    LIST_PAGE,
    Listed,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    Opened,
    Stored,
    StoreUnavailable,
)
from tenants.replica.stores.counting import Requests
from tenants.replica.stores.durable import Drafts, Folders, failures, locked, sync_folder
from tenants.replica.stores.keys import check_key, check_metadata, check_prefix
from tenants.replica.stores.places import key_of, place_of, place_of_prefix
from tenants.replica.stores.sidecars import Sidecars, new_state
from tenants.replica.stores.walk import walk

_PIECE_BYTES = 256 * 1024

_LOCKS = 64
"""A key's lock is one of so many files: enough that tenants rarely wait for each other, and never more."""

_DELETE_MAX = LIST_PAGE
"""What is removed between two syncs of the folders it lay in."""


class DirectoryStore:
    """``ObjectStore`` in a folder. Thread-safe."""

    kind = "directory"

    def __init__(self, root: Path) -> None:
        counted = Requests()
        self.requests = counted.by_kind
        self._counted = counted
        self._root = root
        self._locks = root / ".locks"
        with failures():
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._locks.mkdir(mode=0o700, exist_ok=True)
            self._folders = Folders(root)
            self._drafts = Drafts(root / ".drafts")
        self._sidecars = Sidecars(root / ".metadata", self._drafts, self._folders)

    def create(self, key: str, body: bytes | Path, metadata: Mapping[str, str] | None = None) -> Stored:
        """See ``ObjectStore``."""
        path, metadata = self._path(key), check_metadata(metadata)
        self._counted.add("put")
        if isinstance(body, Path):
            body.stat()  # that there is none is the caller's mistake, not the store's
        state = new_state(metadata)
        with closing(_pieces_of(body)) as pieces, failures():
            if path.exists():  # before it is copied for nothing
                sync_folder(path.parent)
                raise ObjectExists(key)
            with self._drafts.written(pieces, modified_ms=_modified_ms(metadata)) as draft:
                size = draft.stat().st_size
                self._folders.make(path.parent)
                with self._lock(key):
                    is_first = not path.exists()
                    if is_first:
                        self._sidecars.write(key, state)
                        path.hardlink_to(draft)
                # Also who came second does this: the first may have died before, and "it exists" is taken for "it stays".
                sync_folder(path.parent)
        if not is_first:
            raise ObjectExists(key)
        return Stored(key=key, size=size, tag=state.tag, metadata=metadata)

    def replace(self, key: str, body: bytes, *, tag: str | None, metadata: Mapping[str, str] | None = None) -> Stored:
        """See ``ObjectStore``."""
        path, metadata = self._path(key), check_metadata(metadata)
        self._counted.add("put")
        state = new_state(metadata, content=body)
        with failures(), self._drafts.written([body], modified_ms=_modified_ms(metadata)) as draft:
            self._folders.make(path.parent)
            with self._lock(key):
                content = _open(path)
                try:
                    before = None if content is None else self._sidecars.state_of(key, content)
                finally:
                    if content is not None:
                        os.close(content)
                if tag is not None and (before is None or before.tag != tag):
                    raise ObjectChanged(key)
                self._sidecars.write(key, *([state] if before is None else [state, before]))
                draft.rename(path)
                sync_folder(path.parent)
                if before is not None:
                    self._sidecars.write(key, state)
        return Stored(key=key, size=len(body), tag=state.tag, metadata=metadata)

    def head(self, key: str) -> Stored | None:
        """See ``ObjectStore``."""
        self._counted.add("head")
        found = self._look_up(key)
        if found is None:
            return None
        stored, content = found
        os.close(content)
        return stored

    @contextmanager
    def open(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Opened]:
        """See ``ObjectStore``."""
        if start < 0 or (length is not None and length < 1):
            raise ValueError("a range begins at 0 or behind it, and has a length")
        self._counted.add("get")
        found = self._look_up(key)
        if found is None:
            raise ObjectMissing(key)
        stored, content = found
        try:
            end = stored.size if length is None else min(stored.size, start + length)
            yield Opened(stored=stored, pieces=_range(content, start, end))
        finally:
            os.close(content)

    def read(self, key: str, *, bytes_max: int) -> tuple[Stored, bytes]:
        """See ``ObjectStore``."""
        with self.open(key) as opened:
            if opened.stored.size > bytes_max:
                raise ValueError(f"{key} is larger than {bytes_max} bytes")
            return opened.stored, b"".join(opened.pieces)

    def list(self, prefix: str, *, after: str = "") -> Iterator[Listed]:
        """See ``ObjectStore``."""
        check_prefix(prefix)
        with failures():
            self._locks.stat()  # a disk that was taken away is not an empty store
        walked = walk(self._root, place_of_prefix(prefix), after=place_of(after))
        named = (dataclasses.replace(listed, key=key_of(listed.key)) for listed in walked)
        found = (listed for listed in named if listed.key.startswith(prefix))
        while True:
            self._counted.add("list")
            with failures():
                page = [*islice(found, LIST_PAGE)]
            yield from page
            if len(page) < LIST_PAGE:
                return

    def delete(self, keys: Iterable[str]) -> None:
        """See ``ObjectStore``."""
        remaining = iter(keys)
        while batch := [*islice(remaining, _DELETE_MAX)]:
            paths = {key: self._path(key) for key in batch}
            self._counted.add("delete")
            with failures():
                for key, path in paths.items():
                    with self._lock(key):
                        path.unlink(missing_ok=True)
                for folder in {path.parent for path in paths.values()}:
                    if folder.exists():
                        sync_folder(folder)
                for key, path in paths.items():
                    with self._lock(key):
                        if not path.exists():  # nobody has made it again meanwhile
                            self._sidecars.remove(key)

    def close(self) -> None:
        """See ``ObjectStore``."""
        with failures():
            self._drafts.close()

    def _look_up(self, key: str) -> tuple[Stored, int] | None:
        """Return what is known of an object, and its content opened: both of one state."""
        path = self._path(key)
        with failures(), self._lock(key, shared=True):
            content = _open(path)
            if content is None:
                return None
            try:
                state = self._sidecars.state_of(key, content)
                size = os.fstat(content).st_size
            except BaseException:
                os.close(content)
                raise
        return Stored(key=key, size=size, tag=state.tag, metadata=state.metadata), content

    def _lock(self, key: str, *, shared: bool = False) -> AbstractContextManager[None]:
        return locked(self._locks / f"{zlib.crc32(key.encode()) % _LOCKS:02x}", shared=shared)

    def _path(self, key: str) -> Path:
        check_key(key)
        return self._root / place_of(key)


def _open(path: Path) -> int | None:
    """Open a plain file to be read; ``None`` where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def _range(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        with failures():
            piece = os.pread(descriptor, min(_PIECE_BYTES, end - start), start)
        if not piece:
            raise StoreUnavailable("a file became shorter while it was read")
        start += len(piece)
        yield piece


def _pieces_of(body: bytes | Path) -> Generator[bytes]:
    if isinstance(body, bytes):
        yield body
        return
    with body.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _modified_ms(metadata: Mapping[str, str]) -> int | None:
    """Return the time that Litestream reads off a file: when what it holds was captured."""
    try:
        return round(datetime.fromisoformat(metadata["litestream-timestamp"]).timestamp() * 1000)
    except (KeyError, ValueError):
        return None
