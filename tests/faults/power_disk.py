"""A disk under a file system, as bytes: what a program has done to it, and what a power cut may have left of that.

Until a file is synced, each of its sectors may hold anything that was written to it since, up to some moment of its own, and
the last piece only in part. Its length, and the names in its folder, go their own ways too. A sector of which nothing has
arrived yet holds zeros or what the disk held before. What a write does not touch, it does not harm: SQLite relies on that
(https://www.sqlite.org/psow.html), and so do we. This module does no I/O.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

SECTORS = (512, 4096)
"""Bytes that reach the platter together: what old disks promise, and new ones, and a page of the kernel's cache."""

LYING_CACHE_WRITES = 40
"""What a disk that answers a sync at once still holds in its memory then: a few hundred kilobytes of our writes."""


_TORN_SHARE = 0.3
"""Of the changes that a sector has missed, how many have reached it with their beginning."""


@dataclass(frozen=True)
class Write:
    """Bytes written into a file."""

    file: int
    at: int
    data: bytes


@dataclass(frozen=True)
class Resize:
    """A file cut off, or made longer."""

    file: int
    size: int


@dataclass(frozen=True)
class Sync:
    """A file's bytes and length made to last."""

    file: int


@dataclass(frozen=True)
class Name:
    """A name in a folder given to a new file, or taken away (``None``)."""

    name: str
    file: int | None


@dataclass(frozen=True)
class Rename:
    """A file given another name in its folder: whoever looks finds one or the other."""

    name: str
    new: str


@dataclass(frozen=True)
class SyncNames:
    """A folder's names made to last."""

    folder: str = "."


Event = Write | Resize | Sync | Name | Rename | SyncNames

Arrival = Callable[[random.Random, int], int]
"""Draws how many of so many pending changes have reached a sector, or a file's length."""


@dataclass
class _File:
    lasting: bytearray = field(default_factory=bytearray)
    pending: list[Write | Resize] = field(default_factory=list)

    def settle(self, count: int) -> None:
        """Let the oldest ``count`` pending changes last."""
        for change in self.pending[:count]:
            if isinstance(change, Write):
                _put(self.lasting, change.at, change.data, b"\0")
            else:
                _resize(self.lasting, change.size)
        del self.pending[:count]


class Disk:
    """Takes events in order; ``cut`` may be called after any of them, as often as one likes."""

    def __init__(self, files: Mapping[str, bytes], *, honest: bool = True) -> None:
        """``files`` last already. One that is not ``honest`` does nothing on a sync; its memory is bounded all the same."""
        self._honest = honest
        self._files = {-number: _File(bytearray(data)) for number, data in enumerate(files.values(), 1)}
        self._names: dict[str, int] = {name: -number for number, name in enumerate(files, 1)}
        self._pending_names: list[Name | Rename] = []

    def file(self, name: str) -> int | None:
        """Return the number of the file that a program finds under ``name``."""
        return _named(self._names, self._pending_names).get(name)

    def apply(self, event: Event) -> None:
        """Do what the program did."""
        match event:
            case Write() | Resize():
                file = self._files[event.file]
                file.pending.append(event)
                if not self._honest:
                    file.settle(max(0, len(file.pending) - LYING_CACHE_WRITES))
            case Name():
                if event.file is not None:
                    self._files.setdefault(event.file, _File())
                self._pending_names.append(event)
            case Rename():
                self._pending_names.append(event)
            case Sync() if self._honest:
                file = self._files[event.file]
                file.settle(len(file.pending))
            case SyncNames():  # names go through the file system's own log, which even a lying disk seldom reorders
                self._names = _named(self._names, [one for one in self._pending_names if _folder(one) == event.folder])
                self._pending_names = [one for one in self._pending_names if _folder(one) != event.folder]

    def cut(self, chance: random.Random) -> dict[str, bytes]:
        """Return what is found under each name after a power cut now. Every draw from ``chance`` is another cut."""
        by_folder = defaultdict(list)
        for change in self._pending_names:
            by_folder[_folder(change)].append(change)
        names = self._names
        for changes in by_folder.values():
            names = _named(names, changes[: chance.randint(0, len(changes))])
        sector = chance.choice(SECTORS)
        arrival: Arrival = chance.choice((_none, _all, _any, _any, _mostly))
        return {name: _torn(self._files[file], sector, arrival, chance) for name, file in names.items()}


def _folder(change: Name | Rename) -> str:
    return str(PurePath(change.name).parent)


def _named(names: Mapping[str, int], changes: list[Name | Rename]) -> dict[str, int]:
    known = dict(names)
    for change in changes:
        if isinstance(change, Rename):
            known[change.new] = known.pop(change.name)
        elif change.file is None:
            known.pop(change.name, None)
        else:
            known[change.name] = change.file
    return known


def _none(chance: random.Random, count: int) -> int:
    return 0


def _all(chance: random.Random, count: int) -> int:
    return count


def _any(chance: random.Random, count: int) -> int:
    return chance.choice((0, count, chance.randint(0, count)))


def _mostly(chance: random.Random, count: int) -> int:
    return count if chance.random() < 0.95 else chance.randint(0, count)


def _torn(file: _File, sector: int, arrival: Arrival, chance: random.Random) -> bytes:
    """Return what is left of one file."""
    content = bytearray(file.lasting)
    count = len(file.pending)
    resized = arrival(chance, count)
    filler = chance.choice((b"\0", chance.randbytes(1)))
    arrived: dict[int, int] = {}
    for number, change in enumerate(file.pending):
        if isinstance(change, Resize):
            if number < resized:
                _resize(content, change.size)
            continue
        for start, piece in _pieces(change, sector):
            reached = arrived.setdefault(start // sector, arrival(chance, count))
            if number < reached:
                _put(content, start, piece, filler)
            elif reached >= 0 and arrival is not _none and chance.random() < _TORN_SHARE:
                _put(content, start, piece[: chance.randint(1, len(piece))], filler)
                arrived[start // sector] = -1  # nothing reached this sector after that
    return bytes(content)


def _pieces(write: Write, sector: int) -> Iterator[tuple[int, bytes]]:
    start, end = write.at, write.at + len(write.data)
    while start < end:
        stop = min(end, (start // sector + 1) * sector)
        yield start, write.data[start - write.at : stop - write.at]
        start = stop


def _put(content: bytearray, at: int, data: bytes, filler: bytes) -> None:
    if len(content) < at:
        content.extend(filler * (at - len(content)))
    content[at : at + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))
