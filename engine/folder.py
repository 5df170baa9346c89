"""What an engine keeps in its folder beside the database: the lock, and the last words that tell when to wake it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Self

import msgspec

from engine.catalogue.lifecycle import DUE_FILE, Due


class FolderInUse(Exception):
    """Another process serves this database, or checks it, and does not end."""


class FolderLock:
    """The lock without which nobody opens the database. A context manager; held until it is left, or the process ends."""

    def __init__(self, folder: Path, *, wait_s: float) -> None:
        """``wait_s``: how long to wait for whoever holds it, before ``FolderInUse``."""
        self._folder = folder
        self._wait_s = wait_s
        self._descriptor = -1

    def __enter__(self) -> Self:
        self._descriptor = os.open(self._folder / "engine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        give_up_at = time.monotonic() + self._wait_s
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= give_up_at:
                    os.close(self._descriptor)
                    raise FolderInUse(str(self._folder)) from None
                time.sleep(0.02)
            else:
                return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._descriptor)


def leave_due(folder: Path, at: int | None) -> None:
    """Say, at the end, when this database wants to be woken. Nothing is lost with it: without, the host asks by waking."""
    path = folder / DUE_FILE
    draft = path.with_suffix(".new")
    with contextlib.suppress(OSError):  # a full disk
        draft.write_bytes(msgspec.json.encode(Due(at)))
        draft.replace(path)


def forget_due(folder: Path) -> None:
    """Take back what was said: from now on the database changes."""
    (folder / DUE_FILE).unlink(missing_ok=True)
