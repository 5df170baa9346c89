"""A database whose file is damaged is set aside: a marker in its folder says so, and nobody opens the file to serve it.

The marker is made by whoever finds the damage and removed by a restore, or after a clean check by ``engram doctor --release``.
It holds the time and the kind of damage, nothing of what is stored. The host looks for it before it starts an engine.
"""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path

import apsw
import structlog

from engine.capture.pages import PageDamaged
from engine.capture.wal import LogDamaged
from engine.catalogue.lifecycle import QUARANTINE_FILE

_log = structlog.get_logger()

_DAMAGE_CODES = frozenset({apsw.SQLITE_IOERR_DATA, apsw.SQLITE_IOERR_CORRUPTFS})
"""The I/O errors that say that the bytes are wrong: the first is what ``cksumvfs`` answers when a page's checksum is. Others,
such as a disk that can't be reached, may pass."""


def is_damage(error: BaseException) -> bool:
    """Whether ``error`` means that the file does not hold what was written to it."""
    if isinstance(error, apsw.CorruptError | apsw.NotADBError | LogDamaged | PageDamaged):
        return True
    return isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) in _DAMAGE_CODES


class Quarantine:
    """The marker of one folder, and whether this process has found damage itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / QUARANTINE_FILE
        self.is_active = os.path.lexists(self._path)
        """Whether nothing may be answered from the file any more."""

    def enter(self, error: BaseException) -> None:
        """Set the database aside for good; the second time does nothing.

        A disk that is too full for the marker leaves this process refusing. The next one finds the damage anew.
        """
        if self.is_active:
            return
        self.is_active = True
        _log.error("database_quarantined", error=type(error).__name__, reason=_reason(error))
        try:
            self._write(_reason(error))
        except OSError as failure:
            _log.error("quarantine_not_written", error=failure.strerror)

    def leave(self) -> None:
        """Remove the marker: the file has been checked, or replaced."""
        self._path.unlink(missing_ok=True)
        _sync(self._folder)
        self.is_active = False

    def _write(self, reason: str) -> None:
        text = f'{{"quarantined_at": "{datetime.now(UTC).isoformat(timespec="seconds")}", "reason": "{reason}"}}\n'
        # Whatever already lies there sets the database aside just as well, so it is not replaced.
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, text.encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            _sync(self._folder)


def _reason(error: BaseException) -> str:
    """Return the kind of damage in words of ours: SQLite's messages may quote what is stored."""
    if isinstance(error, LogDamaged):
        return "the write-ahead log is damaged"
    if isinstance(error, apsw.NotADBError):
        return "the file is not a database"
    if isinstance(error, apsw.IOError | PageDamaged):
        return "a page's checksum does not match"
    return "the file's structure is malformed"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
