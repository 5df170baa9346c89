"""Files beneath a tenant's folder, opened as a stranger's. An engine that was taken over puts there what it likes.

The kernel itself keeps a path beneath the folder and out of links (``openat2``), so that nothing can be exchanged between a
look and an opening. What is opened must be a regular file of the folder's owner, under one name only, no larger than the reader
said; what it holds is read to that size and no further. Whoever means to act on a file acts on the bytes that were read: the
file may be another the next moment.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Self

PATH_BYTES_MAX = 4096
"""``PATH_MAX`` of Linux."""

PIECE_BYTES = 256 * 1024
"""What is read at once: much for a system call, little for a memory."""

_BLOCK_BYTES = 512
"""The unit of ``st_blocks``, whatever the file system's own is."""

_OPENAT2 = 437
"""The system call's number, on every architecture since Linux 5.6."""

_RESOLVE_NO_XDEV, _RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x01, 0x02, 0x04, 0x08
_RESOLVE = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_XDEV

_OPEN_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Without waiting for anybody: the name may be a pipe's."""

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC

_TRIES_MAX = 8
"""``openat2`` gives up when something on the way is renamed meanwhile; somebody who renames all the time gets nothing read."""

_REASONS = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "not a folder",
    errno.ELOOP: "a link",
    errno.EXDEV: "outside",
    errno.ENXIO: "not a file",
    errno.ENODEV: "not a file",
    errno.EISDIR: "not a file",
    errno.ENAMETOOLONG: "name",
    errno.EINVAL: "name",
    errno.EACCES: "closed",
    errno.EPERM: "closed",
    errno.EAGAIN: "changing",
}


class Refused(Exception):
    """This is not read. ``reason`` is one of a few short words, to be counted; nothing of the stranger's is in it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Folder:
    """A tenant's folder, or one within it. A context manager; what is opened beneath it is named from it."""

    def __init__(self, path: Path, *, owner: int | None = None) -> None:
        """``path`` is ours up to its last part. ``owner`` must own the files; by default who owns the folder."""
        self._path = path
        self._owner = owner
        self._descriptor = -1
        self._device = -1

    def __enter__(self) -> Self:
        try:
            self._descriptor = os.open(self._path, _OPEN_FOLDER)
        except OSError as error:
            raise _refusal(error) from error
        status = os.fstat(self._descriptor)
        self._owner = status.st_uid if self._owner is None else self._owner
        self._device = status.st_dev
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._descriptor)

    def status(self, name: str = "") -> os.stat_result:
        """Return what the system says of a file or folder beneath, without opening it; of this one without a name."""
        if not name:
            return os.fstat(self._descriptor)
        descriptor = self._open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def check(self, status: os.stat_result, *, bytes_max: int) -> None:
        """``Refused`` unless this is a regular file of the owner's, under one name, not over ``bytes_max``."""
        if stat.S_ISLNK(status.st_mode):
            raise Refused("a link")
        if not stat.S_ISREG(status.st_mode):
            raise Refused("not a file")
        if status.st_dev != self._device:
            raise Refused("outside")
        if status.st_uid != self._owner:
            raise Refused("owner")
        if status.st_nlink != 1:
            raise Refused("linked")
        if status.st_size > bytes_max:
            raise Refused("too large")

    def pieces(self, name: str, *, bytes_max: int) -> Iterator[bytes]:
        """Yield what the file holds, piece by piece; ``Refused`` when it is none to be read, or changes meanwhile."""
        descriptor = self._open(name, _OPEN_FILE)
        try:
            before = os.fstat(descriptor)
            self.check(before, bytes_max=bytes_max)
            left = before.st_size
            while left and (piece := os.read(descriptor, min(PIECE_BYTES, left))):
                left -= len(piece)
                yield piece
            if left or _version(os.fstat(descriptor)) != _version(before):
                raise Refused("changing")
        except OSError as error:
            raise _refusal(error) from error
        finally:
            os.close(descriptor)

    def read(self, name: str, *, bytes_max: int) -> bytes:
        """Return all that the file holds."""
        return b"".join(self.pieces(name, bytes_max=bytes_max))

    def names(self, name: str = "", *, names_max: int) -> list[str]:
        """Return the names in a folder beneath, or in this one, in no order; ``Refused`` for more than ``names_max``."""
        descriptor = self._open(name or ".", _OPEN_FOLDER)
        try:
            with os.scandir(descriptor) as entries:
                names = [entry.name for entry in islice(entries, names_max + 1)]
        except OSError as error:
            raise _refusal(error) from error
        finally:
            os.close(descriptor)
        if len(names) > names_max:
            raise Refused("too many")
        return names

    def disk_bytes(self, name: str = "", *, entries_max: int) -> int:
        """Return what the files in a folder take on the disk, the first ``entries_max`` of them: a size may be any number."""
        descriptor = self._open(name or ".", _OPEN_FOLDER)
        size = 0
        try:
            with os.scandir(descriptor) as entries:
                for entry in islice(entries, entries_max):
                    with contextlib.suppress(FileNotFoundError):  # it has vanished meanwhile
                        if entry.is_file(follow_symlinks=False):
                            size += entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES
        except OSError as error:
            raise _refusal(error) from error
        finally:
            os.close(descriptor)
        return size

    def _open(self, name: str, flags: int) -> int:
        encoded = os.fsencode(name)
        if b"\0" in encoded or len(encoded) >= PATH_BYTES_MAX:
            raise Refused("name")
        try:
            if has_openat2():
                return _open_beneath(self._descriptor, encoded, flags)
            return open_step_by_step(self._descriptor, encoded, flags)
        except OSError as error:
            raise _refusal(error) from error


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _open_beneath(folder: int, name: bytes, flags: int) -> int:
    how = _OpenHow(flags, 0, _RESOLVE)
    for _ in range(_TRIES_MAX):
        descriptor = _libc().syscall(_OPENAT2, folder, name, ctypes.byref(how), ctypes.sizeof(how))
        if descriptor >= 0:
            return int(descriptor)
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            raise OSError(number, os.strerror(number))
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def open_step_by_step(folder: int, name: bytes, flags: int) -> int:
    """Open without ``openat2``: part by part, none of them a link, none upwards, all on the folder's device."""
    parts = name.split(b"/")
    if name != b"." and any(part in (b"", b".", b"..") for part in parts):
        raise OSError(errno.EXDEV, "not beneath the folder")
    device = os.fstat(folder).st_dev
    current = os.dup(folder)
    try:
        for number, part in enumerate(parts, 1):
            is_last = number == len(parts)
            following = os.open(part, flags | os.O_NOFOLLOW if is_last else os.O_PATH | _OPEN_FOLDER, dir_fd=current)
            os.close(current)
            current = following
            if os.fstat(current).st_dev != device:
                raise OSError(errno.EXDEV, "another device")
    except BaseException:
        os.close(current)
        raise
    return current


@functools.cache
def has_openat2() -> bool:
    """Whether the kernel has the call, and lets us make it."""
    folder = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        os.close(_open_beneath(folder, b".", os.O_PATH | os.O_CLOEXEC))
    except OSError:
        return False
    finally:
        os.close(folder)
    return True


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _refusal(error: OSError) -> Refused:
    return Refused(_REASONS.get(error.errno or 0, "unreadable"))
