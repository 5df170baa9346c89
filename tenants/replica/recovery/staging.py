"""Folders in which restored databases wait for their tenants: ``<data>/staging/<name>/{memory.db, restore.json}``.

They belong to the service's user alone. The name is random and also the restore's id, by which it is known whether an engine
speaks of this one. The fork server moves both files and removes the folder. Blocking.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import msgspec

from engine.catalogue.recovery import STAGED_DATABASE, STAGED_NOTE, RestoreNote
from engine.free_space import FreeSpace
from engine.protocol import ErrorCode, RemoteError
from tenants.messages.replica import STAGING

_PAGE_BYTES = 4096
"""Of the databases that engines make: SQLite's default."""

_GROWTH = 2
"""Room that is asked for: the database, and as much again for its engine to take it in beside the present one."""


class Staging:
    """The folder of the node."""

    def __init__(self, data_folder: Path) -> None:
        self._folder = data_folder / STAGING
        self._data_folder = data_folder

    def clear(self) -> None:
        """Make the folder, and remove what an earlier process has left in it."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for left in list(self._folder.iterdir()):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)

    def check_room(self, pages: int) -> None:
        """``disk_full`` when a database of so many pages would take what must stay free."""
        disk = FreeSpace(self._data_folder)
        try:
            if not disk.fits(_GROWTH * pages * _PAGE_BYTES):
                message = "the node's disk has no room for a restored copy of this database; nothing was changed"
                raise RemoteError(ErrorCode.DISK_FULL, message)
        finally:
            disk.close()

    def make(self) -> Path:
        """Return a new folder."""
        path = self._folder / secrets.token_hex(16)
        path.mkdir(mode=0o700)
        return path

    def seal(self, path: Path, note: RestoreNote) -> None:
        """Put the note beside the database, and have both there after a power cut."""
        with (path / STAGED_NOTE).open("xb") as file:
            file.write(msgspec.json.encode(note))
            file.flush()
            os.fsync(file.fileno())
        for folder in (path, self._folder):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def holds(self, name: str) -> bool:
        """Whether the folder waits still."""
        # Both: who moved them may have been killed after the first.
        return all((self._folder / name / file).exists() for file in (STAGED_NOTE, STAGED_DATABASE))

    def remove(self, name: str) -> None:
        """Remove a folder; one that was moved is none any more."""
        shutil.rmtree(self._folder / name, ignore_errors=True)
