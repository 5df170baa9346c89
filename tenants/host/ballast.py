"""A file that holds a little of the disk, to be let go when somebody else has filled it.

Engines stop storing while there is still room (``engine.free_space``), but logs, other programs and people fill disks too. On
one that is full to the last byte, not even a deletion can be written, and no sleeping database can be opened. The ballast is
what makes them possible: it is let go when next to nothing is free, and taken again when there is room for it and more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import structlog

from engine.free_space import FreeSpace
from tenants.messages.host import DiskState

_log = structlog.get_logger()

_BYTES_MAX = 64 * 1024 * 1024
"""For a few thousand deletions, and the checkpoints that make room of them."""

_SHARE = 50
"""But no more than one part in so many of the disk."""

_BYTES_MIN = 8 * 1024 * 1024
"""And no less than it takes to empty one full log, of four megabytes."""

_EXHAUSTED_SHARE = 4
"""It is let go when less is free than one part in so many of it."""

_ROOM_FACTOR = 2
"""It is taken again when so many times its size is free: not at once after the first deletion, which may need it still."""

_LOOK_PAUSE_S = 1.0
"""Between two looks, each some microseconds."""


class Ballast:
    """The file ``ballast`` in the data folder. Call ``run`` in a task."""

    def __init__(self, data_folder: Path, *, reserve_bytes: int | None = None) -> None:
        """``reserve_bytes`` is what engines keep free, as their ``FreeSpace`` has it."""
        self._path = data_folder / "ballast"
        self._disk = FreeSpace(data_folder, reserve_bytes=reserve_bytes)
        self.size = min(_BYTES_MAX, max(_BYTES_MIN, self._disk.disk_bytes // _SHARE))
        """In bytes."""
        self.is_held = False
        """Whether it holds its part of the disk now."""

    @property
    def state(self) -> DiskState:
        """How the disk is."""
        if not self.is_held:
            return "exhausted"
        return "low" if self._disk.is_low() else "ready"

    async def run(self) -> None:
        """Look at the disk for ever."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_PAUSE_S)

    def look(self) -> None:
        """Take or let go of the file as the disk's free space demands. Does not fail: a disk in trouble may do anything."""
        try:
            free = self._disk.free_bytes()
            if self._is_whole():
                if free < self.size // _EXHAUSTED_SHARE:
                    self._let_go()
                else:
                    self.is_held = True
            elif free >= self.size * _ROOM_FACTOR:
                self._take()
            else:
                self.is_held = False
        except OSError as error:
            self.is_held = False
            _log.warning("ballast_out_of_reach", error=error.strerror)

    def _let_go(self) -> None:
        self._path.unlink(missing_ok=True)
        self.is_held = False
        _log.error("disk_exhausted", ballast_bytes=self.size)

    def _take(self) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self.size)
            self.is_held = True
            _log.info("ballast_taken", ballast_bytes=self.size)
        except OSError:
            with contextlib.suppress(OSError):
                self._path.unlink()
            raise
        finally:
            os.close(descriptor)

    def _is_whole(self) -> bool:
        """Whether the file is there with all its blocks: one that was only made long holds nothing."""
        try:
            found = os.lstat(self._path)
        except FileNotFoundError:
            return False
        return found.st_blocks * 512 >= self.size  # st_blocks counts units of 512 bytes: stat(2)
