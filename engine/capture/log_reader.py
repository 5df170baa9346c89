"""Reads committed frames of the log, and which page each of them holds. Every frame is proved by the chain of checksums."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.capture.live_files import LiveFiles
from engine.capture.wal import COMMIT_WORD, FRAME_HEADER_BYTES, HEADER_BYTES, NUMBER_WORD, Chain, Header, LogDamaged

FRAMES_READ = 64
"""Read and summed at a time: a quarter of a megabyte, which stays in the processor's cache."""

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Span:
    """Frames of a log from one commit to another."""

    header: Header
    first: int
    last: int
    """How many frames lie before them, and how many at their end."""
    commit: int
    """The size of the database after them, in pages."""
    checksum: tuple[int, int]
    """The chain's after the last of them."""
    pages: Numbers
    """Which pages they hold, ascending, none twice."""
    frames: Numbers
    """For each of these pages, which frame is its newest."""


def frames_of(descriptor: int, header: Header, first: int, last: int | None = None) -> Iterator[memoryview]:
    """Yield the frames from ``first`` to ``last``, or to the log's end, as far as they are whole: some at a time.

    Each piece lies where the one before it lay.
    """
    buffer = memoryview(bytearray(FRAMES_READ * header.frame_bytes))
    while last is None or first < last:
        wanted = buffer if last is None else buffer[: min(FRAMES_READ, last - first) * header.frame_bytes]
        whole = os.preadv(descriptor, [wanted], HEADER_BYTES + first * header.frame_bytes) // header.frame_bytes
        if not whole:
            return
        yield buffer[: whole * header.frame_bytes]
        first += whole


class LogReader:
    """The log of one open database."""

    def __init__(self, files: LiveFiles, page_bytes: int) -> None:
        self._files = files
        self._page_bytes = page_bytes

    def header(self) -> Header | None:
        """Return the log's header, ``None`` while nothing is in the log; ``LogDamaged`` when it is none, or another's."""
        descriptor = self._files.log()
        data = b"" if descriptor is None else os.pread(descriptor, HEADER_BYTES, 0)
        if not data:
            return None
        header = Header.parse(data)
        if header.page_bytes != self._page_bytes:
            raise LogDamaged("the log's pages are not as long as the database's")
        return header

    def commit(self, frames: int) -> int:
        """Return the size of the database after so many frames, in pages, as it stands there; 0 when the log is gone."""
        descriptor = self._files.log()
        if descriptor is None:
            return 0
        start = HEADER_BYTES + (frames - 1) * (FRAME_HEADER_BYTES + self._page_bytes)
        return int.from_bytes(os.pread(descriptor, 8, start)[4:], "big")

    def follow(self, header: Header, last: int, *, first: int = 0, checksum: tuple[int, int] | None = None) -> Span:
        """Read the frames from ``first``, before which the chain has ``checksum``, to ``last``, which must be a commit.

        ``LogDamaged`` unless all of them continue the chain.
        """
        descriptor = self._files.log()
        assert descriptor is not None
        chain = Chain(header, frames=first, checksum=checksum)
        numbers = []
        commit = 0
        for data in frames_of(descriptor, header, first, last):
            followed = chain.frames + len(data) // header.frame_bytes
            chain.feed(data)
            if chain.frames != followed:
                break
            heads = np.frombuffer(data, ">u4").reshape(-1, header.frame_bytes // 4)
            numbers.append(heads[:, NUMBER_WORD].astype(np.int64))
            commit = int(heads[-1, COMMIT_WORD])
        if chain.committed != last:
            raise LogDamaged(f"frame {chain.frames + 1} of {last} is not what was committed")
        newest_first = np.concatenate(numbers)[::-1]
        pages, places = np.unique(newest_first, return_index=True)
        return Span(
            header=header,
            first=first,
            last=last,
            commit=commit,
            checksum=chain.checksum,
            pages=pages,
            frames=last - 1 - places,
        )

    def read(self, header: Header, frames: Sequence[int]) -> bytearray:
        """Return the pages that these frames hold, one behind the other."""
        descriptor = self._files.log()
        assert descriptor is not None
        size = header.page_bytes
        data = bytearray(len(frames) * size)
        view = memoryview(data)
        for place, frame in enumerate(frames):
            start = HEADER_BYTES + frame * header.frame_bytes + FRAME_HEADER_BYTES
            if os.preadv(descriptor, [view[place * size : (place + 1) * size]], start) != size:
                raise LogDamaged("the log has become shorter")
        return data
