"""The files of an open database, read past SQLite: the database itself and its log.

No descriptor of theirs may be closed while SQLite has them open in this process: the system would drop SQLite's locks with it.
So each is opened when it is first needed, and held for good.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


def log_path(path: Path) -> Path:
    """Return where SQLite keeps the log of the database at ``path``."""
    return path.with_name(f"{path.name}-wal")


class LiveFiles:
    """The files of the database at ``path``."""

    def __init__(self, path: Path) -> None:
        """To be made before SQLite opens the database, which makes a log where there is none."""
        self._path = path
        self.had_log = log_path(path).exists()
        """Whether there was a log at that time, were it empty."""
        self._database: int | None = None
        self._log: int | None = None

    def database(self) -> int:
        """Return a descriptor of the database."""
        if self._database is None:
            self._database = os.open(self._path, _FLAGS)
        return self._database

    def log(self) -> int | None:
        """Return a descriptor of the log, ``None`` when there is none."""
        if self._log is None:
            with contextlib.suppress(FileNotFoundError):
                self._log = os.open(log_path(self._path), _FLAGS)
        return self._log

    def database_bytes(self) -> int:
        """Return how long the database's file is."""
        return os.fstat(self.database()).st_size

    def database_time_ns(self) -> int:
        """Return when the database's file was last changed, in nanoseconds since 1970."""
        return os.fstat(self.database()).st_mtime_ns

    def close(self) -> None:
        """Let go of both. After the end of every connection only."""
        for descriptor in (self._database, self._log):
            if descriptor is not None:
                os.close(descriptor)
        self._database = self._log = None
