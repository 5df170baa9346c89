"""What a directory store knows of an object beside its content, in a tree of its own: Litestream is to see only its files.

A sidecar is there before its object and goes after it, so an object is never without. When an object is replaced, its sidecar
has both states while the new content is renamed into its place; the content itself then says, by its digest, which one holds.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec
import structlog

from tenants.replica.stores.durable import Drafts, Folders, sync_folder

_log = structlog.get_logger()

_BYTES_MAX = 16 * 1024
"""Two states with all the metadata that there may be."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """One state of an object."""

    tag: str
    """No other state of any object ever had or has it."""
    metadata: dict[str, str] = {}
    digest: str = ""
    """SHA-256 of the content in hex, where the object replaced another."""


class _Sidecar(msgspec.Struct, frozen=True, kw_only=True):
    states: list[State]
    """One, or the new one and the one before while neither is settled."""


def new_state(metadata: dict[str, str], *, content: bytes | None = None) -> State:
    """Return a state; with ``content`` one that can be told from the one before by it."""
    digest = "" if content is None else hashlib.sha256(content).hexdigest()
    return State(tag=os.urandom(16).hex(), metadata=metadata, digest=digest)


class Sidecars:
    """All of a store's, in a folder. Whoever calls holds the object's lock."""

    def __init__(self, folder: Path, drafts: Drafts, folders: Folders) -> None:
        self._folder = folder
        self._drafts = drafts
        self._folders = folders

    def write(self, key: str, *states: State) -> None:
        """Write what is known of an object; it lasts when this returns."""
        path = self._path(key)
        self._folders.make(path.parent)
        with self._drafts.written([msgspec.json.encode(_Sidecar(states=list(states)))]) as draft:
            draft.rename(path)
        sync_folder(path.parent)

    def state_of(self, key: str, content: int) -> State:
        """Return the state of the object whose content is open as ``content``."""
        states = self._read(key)
        if len(states) == 1:
            return states[0]
        if not states:  # nobody wrote it through this store: it is there, and nothing is known of it
            status = os.fstat(content)
            return State(tag=f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}")
        new, before = states[:2]
        return new if _digest(content) == new.digest else before

    def remove(self, key: str) -> None:
        """Forget an object that is no more."""
        self._path(key).unlink(missing_ok=True)

    def _read(self, key: str) -> list[State]:
        try:
            with self._path(key).open("rb") as file:
                return msgspec.json.decode(file.read(_BYTES_MAX), type=_Sidecar).states
        except FileNotFoundError:
            return []
        except (msgspec.MsgspecError, UnicodeDecodeError):
            _log.warning("metadata_unreadable", key=key)
            return []

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}+.json"  # no key has a plus, so this is no folder of another's


def _digest(descriptor: int) -> str:
    digest = hashlib.sha256()
    at = 0
    while piece := os.pread(descriptor, 256 * 1024, at):
        digest.update(piece)
        at += len(piece)
    return digest.hexdigest()
