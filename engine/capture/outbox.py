"""The folder ``outbox``: files under their names wait to be shipped, and whoever ships them takes them away.

A file is written under another name and becomes visible whole. Both names, and nothing else that lies there, are touched.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.capture.position_file import sync_folder
from engine.ltx import LtxError, file_name, parse_file_name

OUTBOX_FOLDER = "outbox"
_DRAFT = ".new"
_MODE = 0o640
"""The replicator, which is of the folder's group, reads it."""


class Outbox:
    """The outbox in one tenant's ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / OUTBOX_FOLDER

    @contextlib.contextmanager
    def drafting(self, txid: int) -> Iterator[Callable[[bytes], None]]:
        """Yield what takes the bytes of the next file. After the block they are on the disk, under the draft's name.

        A block that fails leaves no draft, as far as the disk lets it be taken away.
        """
        path = self._draft(txid)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
            try:
                yield lambda data: _write(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            sync_folder(self._folder)
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise

    def publish(self, txid: int) -> None:
        """Give the draft its name, if it has not got it yet."""
        with contextlib.suppress(FileNotFoundError):
            self._draft(txid).rename(self._folder / file_name(txid, txid))

    def settle(self, txid: int) -> None:
        """Finish what was begun: the draft of ``txid``, which was written down, gets its name; others never counted."""
        self.publish(txid)
        for name in self._names():
            if name.endswith(_DRAFT) and _is_file(name.removesuffix(_DRAFT)):
                (self._folder / name).unlink(missing_ok=True)

    def empty(self) -> None:
        """Take away all that is there, for good."""
        for name in self._names():
            if _is_file(name.removesuffix(_DRAFT)):
                (self._folder / name).unlink(missing_ok=True)
        sync_folder(self._folder)

    def waiting(self) -> int:
        """Return how many files wait to be shipped."""
        return sum(_is_file(name) for name in self._names())

    def _draft(self, txid: int) -> Path:
        return self._folder / (file_name(txid, txid) + _DRAFT)

    def _names(self) -> list[str]:
        return os.listdir(self._folder)  # noqa: PTH208  the names are all that is wanted


def _is_file(name: str) -> bool:
    try:
        parse_file_name(name)
    except LtxError:
        return False
    return True


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
