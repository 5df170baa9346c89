"""Files that stay: what was written is on the disk, with its name, before anybody is told so. And what a failing disk means."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from tenants.replica.objects import StoreRefused, StoreUnavailable

_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
"""Stays so until somebody changes something. Anything else (full, failing, gone) may pass."""

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

_FOLDERS_REMEMBERED_MAX = 100_000
"""Some 10 MB of names; then they are all looked at anew."""


@contextmanager
def failures() -> Iterator[None]:
    """Raise ``StoreRefused`` or ``StoreUnavailable`` for what the system refuses within."""
    try:
        yield
    except OSError as error:
        words = f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror)
        raise (StoreRefused if error.errno in _REFUSED else StoreUnavailable)(words) from error


def sync_folder(path: str | Path) -> None:
    """Have the names in a folder reach the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Folders:
    """Makes folders beneath ``root`` and sees to it, once for each, that they stay. Thread-safe."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lasting: set[Path] = set()
        self._lock = Lock()

    def make(self, folder: Path) -> None:
        """Make a folder and those it lies in, unless they are there. Whoever made them may have died before they would stay."""
        if folder in self._lasting:
            return
        if folder != self._root:
            self.make(folder.parent)
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            sync_folder(folder.parent)
        with self._lock:
            if len(self._lasting) >= _FOLDERS_REMEMBERED_MAX:
                self._lasting.clear()
            self._lasting.add(folder)


class Drafts:
    """Files that have no name yet that anybody reads. Each process has a folder of its own; those of dead ones are removed.

    A folder belongs to who holds its lock, which the kernel takes away at a process's end.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        with locked(folder / "opening"):  # so that nobody takes a new folder for a dead one before it has its lock
            for found in [*folder.iterdir()]:
                _remove_if_dead(found)
            self._folder = folder / f"{os.getpid()}-{os.urandom(8).hex()}"
            self._folder.mkdir(mode=0o700)
            self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def close(self) -> None:
        """Remove the folder."""
        for draft in [*self._folder.iterdir()]:
            draft.unlink(missing_ok=True)
        self._folder.rmdir()
        os.close(self._descriptor)

    @contextmanager
    def written(self, pieces: Iterable[bytes], *, modified_ms: int | None = None) -> Iterator[Path]:
        """Write a file and yield where it lies, on the disk already; afterwards that name is gone."""
        path = self._folder / os.urandom(8).hex()
        try:
            with os.fdopen(os.open(path, _NEW, 0o600), "wb", buffering=0) as file:
                for piece in pieces:
                    left = memoryview(piece)
                    while left:
                        left = left[file.write(left) :]
                if modified_ms is not None:
                    os.utime(file.fileno(), ns=(modified_ms * 1_000_000, modified_ms * 1_000_000))
                os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a file: alone, or with others who share it. Between threads as between processes of one host."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_if_dead(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (NotADirectoryError, FileNotFoundError):  # the lock of this place itself, or a folder whose owner has just gone
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for draft in [*folder.iterdir()]:
            draft.unlink(missing_ok=True)
        folder.rmdir()
    except (BlockingIOError, FileNotFoundError):
        pass
    finally:
        os.close(descriptor)
