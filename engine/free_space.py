"""How much room the disk has that the databases lie on. Near its end, only what gives space back is still written.

A node's databases, its log and its control plane share that disk: the last of it must not go to whoever writes fastest.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from engine.protocol import ErrorCode, RemoteError

RESERVE_BYTES_DEFAULT = 256 * 1024 * 1024
"""Kept free if nothing else is set: room to empty some sixty full logs into their files."""

RESERVE_SHARE_DEFAULT = 20
"""But no more than one part in so many of the disk: on a small one that much would be most of it."""

RESERVE_BYTES_MIN = 16 * 1024 * 1024
"""And no less than it takes to empty a few full logs, of four megabytes each: a log that finds no room stays full."""

_LOOK_PAUSE_S = 1.0
"""Between two looks while much is free."""

_NEAR_FACTOR = 4
"""With less than so many reserves free, it is looked before each write: one look takes a microsecond."""

_EMPTY_BYTES = 1024 * 1024
"""A disk with more than this free was not the reason for SQLite's "full"."""


class FreeSpace:
    """The disk of one folder. Looked at through a descriptor, which also serves a process that is confined to the folder."""

    def __init__(self, folder: Path, *, reserve_bytes: int | None = None) -> None:
        """``reserve_bytes`` is what must stay free; ``None`` is the default, the smaller of 256 MiB and a twentieth,
        but 16 MiB at least.
        """
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        disk = os.fstatvfs(self._descriptor)
        self.disk_bytes = disk.f_blocks * disk.f_frsize
        """The size of the disk."""
        default = min(RESERVE_BYTES_DEFAULT, max(RESERVE_BYTES_MIN, self.disk_bytes // RESERVE_SHARE_DEFAULT))
        self._reserve_bytes = default if reserve_bytes is None else reserve_bytes
        self._look_at = 0.0
        self._is_low = False

    def check(self) -> None:
        """``disk_full`` when what is free is below the reserve. Asked before anything is written that stores more."""
        now = time.monotonic()
        if now >= self._look_at:
            free = self.free_bytes()
            self._look_at = now if free < _NEAR_FACTOR * self._reserve_bytes else now + _LOOK_PAUSE_S
            self._is_low = free < self._reserve_bytes
        if self._is_low:
            raise RemoteError(ErrorCode.DISK_FULL, "the node's disk is nearly full; nothing was changed")

    def is_low(self) -> bool:
        """Whether less is free now than must stay so."""
        return self.free_bytes() < self._reserve_bytes

    def fits(self, size: int) -> bool:
        """Whether so many bytes can be written now, and what must stay free does."""
        return self.free_bytes() >= size + self._reserve_bytes

    def is_exhausted(self) -> bool:
        """Whether next to nothing is free now."""
        return self.free_bytes() < _EMPTY_BYTES

    def free_bytes(self) -> int:
        """Return what is free to this process now. Source: ``statvfs(3)``."""
        disk = os.fstatvfs(self._descriptor)
        return disk.f_bavail * disk.f_frsize

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._descriptor)
