"""The file ``captured``: how far the log has been carried into the outbox (``engine.captured`` has its form).

A slot is on the disk before ``write`` returns. One whose writing has failed is written over by the next, and the one before it
stays as it is until then.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import msgspec

from engine.captured import CAPTURED_FILE, FILE_BYTES, Position, decode, encode_slot, slot_offset

_MODE = 0o640
"""The replicator, which is of the folder's group, reads it."""


class PositionFile:
    """The file of one tenant's folder, made with the first ``write``. A context manager; holds one descriptor until closed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / CAPTURED_FILE
        self._descriptor: int | None = None
        self._is_read = False
        self._position: Position | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def read(self) -> Position | None:
        """Return the position that was written last; ``None`` when there is none, or nonsense."""
        if not self._is_read:
            descriptor = self._open(os.O_RDWR)
            self._position = decode(os.pread(descriptor, FILE_BYTES, 0)) if descriptor is not None else None
            self._is_read = True
        return self._position

    def write(self, position: Position | None = None, /, **changes: Any) -> Position:
        """Write ``position``, or the present one, with these ``changes``; return it as it was written. ``OSError``."""
        before = self.read()
        serial = 1 if before is None else before.serial + 1
        base = position or before or Position(serial=0, txid=0)
        written = msgspec.structs.replace(base, **(changes | {"serial": serial}))
        descriptor = self._open(os.O_RDWR)
        if descriptor is None:
            descriptor = self._make()
        os.pwrite(descriptor, encode_slot(written), slot_offset(serial))
        os.fdatasync(descriptor)
        self._position = written
        return written

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self, flags: int) -> int | None:
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self._path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
            except FileNotFoundError:
                return None
        return self._descriptor

    def _make(self) -> int:
        """Make the file at its full length, so that no slot ever needs more room on the disk, and have its name last."""
        descriptor = self._open(os.O_RDWR | os.O_CREAT)
        assert descriptor is not None
        os.pwrite(descriptor, bytes(FILE_BYTES), 0)
        os.fsync(descriptor)
        sync_folder(self._folder)
        return descriptor


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` last: those that were made and those that were taken away."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
