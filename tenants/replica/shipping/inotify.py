"""The kernel's news of folders (inotify(7)), through ctypes: a descriptor for the event loop, watches, events.

Every watch here is for the next event only (``IN_ONESHOT``) or for all. Paths are a stranger's in their last part: links are
not followed, and only folders are watched.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x40, 0x80, 0x100, 0x200
IN_Q_OVERFLOW, IN_IGNORED = 0x4000, 0x8000
IN_ONLYDIR, IN_DONT_FOLLOW, IN_ONESHOT = 0x0100_0000, 0x0200_0000, 0x8000_0000

_EVENT = struct.Struct("=iIII")
_READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """Something has happened in a watched folder."""

    watch: int
    mask: int
    name: str


class Inotify:
    """One queue of events. ``OSError`` where the kernel has none left to give (EMFILE) or has no such thing (ENOSYS)."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def watch(self, folder: Path, mask: int) -> int:
        """Watch a folder and return the watch's number; the same folder has the same. ``OSError``: ENOSPC for too many."""
        path = os.fsencode(folder)
        return self._checked(self._libc.inotify_add_watch(self.descriptor, path, mask | IN_ONLYDIR | IN_DONT_FOLLOW))

    def unwatch(self, watch: int) -> None:
        """Watch no more; a watch that is over already is no error."""
        self._libc.inotify_rm_watch(self.descriptor, watch)

    def events(self) -> Iterator[Event]:
        """Yield what has happened; nothing when nothing has."""
        try:
            data = os.read(self.descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            name = data[offset : offset + length].rstrip(b"\0")
            offset += length
            yield Event(watch, mask, os.fsdecode(name))

    def close(self) -> None:
        """End all watches."""
        os.close(self.descriptor)

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
