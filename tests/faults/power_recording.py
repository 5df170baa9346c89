"""Writes down all that is done to the files of one folder and of those in it, and passes everything on unchanged.

That is a VFS of SQLite, and the calls with which our own code writes to files past SQLite.
The VFS becomes the process's default before ``engine.store.connection.preload`` loads ``cksumvfs``, which lays itself over the
default: what is written down is what really goes to the disk, checksums and all. So it needs a process of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import apsw

from tests.faults.power_disk import Disk, Event, Name, Rename, Resize, Sync, SyncNames, Write

_BELOW = "unix"
_SYNCS_ITS_NAME = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL
"""SQLite's own VFS syncs the folder with the first sync of a log or a journal that it has opened (``UNIXFILE_DIRSYNC``), so
the names of all files beside it last from then on. With any other file it does not."""


class Journal:
    """What was done to the files of ``folder``, in order. What lay there at first, lasted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.begun_with = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self.events: list[Event] = []
        self._now = Disk(self.begun_with)
        self._files = 0

    def note(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Name | Rename):
            self._now.apply(event)

    def file(self, name: str) -> int:
        """Return the number of the file of this name, which is made if there is none."""
        known = self._now.file(name)
        if known is not None:
            return known
        self._files += 1
        self.note(Name(name, self._files))
        return self._files

    def name(self, path: str | Path) -> str | None:
        """Return the name of a file of the folder, ``None`` for one that lies elsewhere."""
        whole = Path(path)
        return str(whole.relative_to(self.folder)) if whole.is_relative_to(self.folder) and whole != self.folder else None

    def rename(self, name: str, new: str) -> None:
        """Note that a file has another name now."""
        if self._now.file(name) is not None:
            self.note(Rename(name, new))

    def forget(self, name: str) -> None:
        """Note that a name was taken away."""
        if self._now.file(name) is not None:
            self.note(Name(name, None))


class Recorder(apsw.VFS):
    """The process's default VFS from now on. Writes down nothing but inside ``recording``."""

    def __init__(self) -> None:
        super().__init__("recorder", _BELOW, makedefault=True)
        self._journal: Journal | None = None

    @contextmanager
    def recording(self, journal: Journal) -> Iterator[None]:
        """Write down what happens in the journal's folder while the block runs."""
        self._journal = journal
        try:
            with _calls_noted(journal):
                yield
        finally:
            self._journal = None

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        journal = self._in_journal(path)
        if path is None or journal is None:
            return apsw.VFSFile(_BELOW, name, flags)
        return _RecordedFile(name, flags, journal, journal.file(Path(path).name))

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        if (journal := self._in_journal(filename)) is not None:
            journal.forget(Path(filename).name)
            if syncdir:
                journal.note(SyncNames())

    def _in_journal(self, path: str | None) -> Journal | None:
        if path is None or self._journal is None or Path(path).parent != self._journal.folder:
            return None
        return self._journal


class _RecordedFile(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], journal: Journal, file: int) -> None:
        self._syncs_its_name = bool(flags[0] & _SYNCS_ITS_NAME)
        self._journal = journal
        self._file = file
        super().__init__(_BELOW, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._journal.note(Write(self._file, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        self._journal.note(Resize(self._file, newsize))

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._journal.note(Sync(self._file))
        if self._syncs_its_name:
            self._syncs_its_name = False
            self._journal.note(SyncNames())


@contextmanager
def _calls_noted(journal: Journal) -> Iterator[None]:
    calls = _Calls(journal)
    with ExitStack() as stack:
        for name in ("open", "write", "pwrite", "ftruncate", "fsync", "fdatasync", "rename", "unlink"):
            stack.enter_context(patch.object(os, name, getattr(calls, name)))
        yield


class _Calls:
    """The calls themselves, each carried out and then noted."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._os = {name: getattr(os, name) for name in dir(os)}

    def open(self, path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        descriptor: int = self._os["open"](path, flags, *arguments, **named)
        if flags & (os.O_CREAT | os.O_TRUNC) and (number := self._file(descriptor)) is not None and flags & os.O_TRUNC:
            self._journal.note(Resize(number, 0))
        return descriptor

    def write(self, descriptor: int, data: Any) -> int:
        number = self._file(descriptor)
        position = os.lseek(descriptor, 0, os.SEEK_CUR) if number is not None else 0
        written: int = self._os["write"](descriptor, data)
        if number is not None:
            self._journal.note(Write(number, position, bytes(data[:written])))
        return written

    def pwrite(self, descriptor: int, data: bytes, position: int) -> int:
        written: int = self._os["pwrite"](descriptor, data, position)
        if (number := self._file(descriptor)) is not None:
            self._journal.note(Write(number, position, bytes(data[:written])))
        return written

    def ftruncate(self, descriptor: int, size: int) -> None:
        self._os["ftruncate"](descriptor, size)
        if (number := self._file(descriptor)) is not None:
            self._journal.note(Resize(number, size))

    def fsync(self, descriptor: int) -> None:
        self._os["fsync"](descriptor)
        path = _path(descriptor)
        if path.is_dir() and path.is_relative_to(self._journal.folder):
            self._journal.note(SyncNames(str(path.relative_to(self._journal.folder))))
        elif (number := self._file(descriptor)) is not None:
            self._journal.note(Sync(number))

    def fdatasync(self, descriptor: int) -> None:
        self._os["fdatasync"](descriptor)
        if (number := self._file(descriptor)) is not None:
            self._journal.note(Sync(number))

    def rename(self, path: Any, new: Any, **named: Any) -> None:
        self._os["rename"](path, new, **named)
        name, renamed = self._journal.name(path), self._journal.name(new)
        if name is not None and renamed is not None:
            self._journal.rename(name, renamed)

    def unlink(self, path: Any, **named: Any) -> None:
        self._os["unlink"](path, **named)
        if (name := self._journal.name(path)) is not None:
            self._journal.forget(name)

    def _file(self, descriptor: int) -> int | None:
        path = _path(descriptor)
        if path.is_dir() or (name := self._journal.name(path)) is None:
            return None
        return self._journal.file(name)


def _path(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()
