"""SQLite's write-ahead log as bytes: its header, its frames, and the chain of checksums through them.

A page of the database carries a checksum of its own, but ``cksumvfs`` stamps it when a checkpoint writes the page. What lies
in the log is protected by the log's chain alone, so the chain must hold at the moment when a page leaves it: a bit flipped
before that would get a valid stamp. This module does no I/O and knows nothing of transactions.

Format: https://www.sqlite.org/fileformat2.html, section 4.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass

import numpy as np

from engine.capture import sums
from engine.capture.sums import Words

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
_PAGE_BYTES = frozenset(2**power for power in range(9, 17))
_BYTE_ORDERS = {0x377F0682: "<", 0x377F0683: ">"}
_FORMAT = 3_007_000
_MASK = 2**32 - 1
_PAGES_MAX = 2**32 - 2  # SQLite's own limit

# A frame's words: page number, size of the database after a commit (0 in other frames), two salts, two checksums, the page.
NUMBER_WORD = 0
COMMIT_WORD = 1
_SALTS = slice(2, 4)
_CHECKSUMS = slice(4, 6)
_PAGE_WORD = 6


class LogDamaged(Exception):
    """The log does not hold what was committed to it."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """The first 32 bytes of a log."""

    byte_order: str
    """In which the words are summed, as NumPy writes it. The checksums themselves are big-endian always."""
    page_bytes: int
    salts: tuple[int, int]
    checksum: tuple[int, int]

    @classmethod
    def parse(cls, data: bytes) -> Header:
        """Return the header; ``LogDamaged`` when it is not whole or its checksum does not match."""
        if len(data) < HEADER_BYTES:
            raise LogDamaged("the log is shorter than its header")
        magic, version, page_bytes, _, salt_1, salt_2, *checksum = struct.unpack(">8I", data[:HEADER_BYTES])
        byte_order = _BYTE_ORDERS.get(magic)
        if byte_order is None or version != _FORMAT or page_bytes not in _PAGE_BYTES:
            raise LogDamaged("the log's header is not one of SQLite's")
        s = t = 0
        for a, b in struct.iter_unpack(f"{byte_order}2I", data[: HEADER_BYTES - 8]):
            s = (s + a + t) & _MASK
            t = (t + b + s) & _MASK
        if [s, t] != checksum:
            raise LogDamaged("the checksum of the log's header does not match")
        return cls(byte_order=byte_order, page_bytes=page_bytes, salts=(salt_1, salt_2), checksum=(s, t))

    @property
    def frame_bytes(self) -> int:
        """Size of a frame with its own header."""
        return FRAME_HEADER_BYTES + self.page_bytes


class Chain:
    """Follows the frames of one log from its beginning. Feed it in order, whole frames at a time."""

    def __init__(
        self, header: Header, *, pages: int = _PAGES_MAX, frames: int = 0, checksum: tuple[int, int] | None = None
    ) -> None:
        """``pages``: how many the file had when the log was begun; each frame adds one at most.

        ``frames`` and ``checksum``: how many frames lie before those that are fed, and what the last of them has.
        """
        self._header = header
        self._weights = _frame_weights(header.page_bytes)
        self._pages_max = pages
        self._last = header.checksum if checksum is None else checksum
        self._is_broken = False
        self._after_commit = False
        self.frames = frames
        """How many frames continue the chain."""
        self.pages: set[int] = set()
        """Of which pages."""
        self.committed = frames
        """How many of them lie at or before the last commit."""
        self.is_damaged = False
        """Whether a frame that was certainly on the disk once no longer continues the chain.

        A chain may end early without damage: a power cut tears the last transaction, whose frames reach the disk in any
        order. But the next transaction continues from a commit only after that was synced to the disk. So a commit frame
        at or behind the break with another that continues from it says that the break lies in what had been synced. Where a
        sector never arrived, the disk may hold anything: only what could be the size of this file makes a frame a commit.
        """

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next frames."""
        stored = np.frombuffer(data, ">u4").reshape(-1, self._header.frame_bytes // 4)
        checksums = stored[:, _CHECKSUMS].astype(np.uint32)
        of_this_log = (stored[:, _SALTS] == np.array(self._header.salts, np.uint32)).all(axis=1)
        self._pages_max += len(stored)
        commits = of_this_log & (stored[:, COMMIT_WORD] != 0) & (stored[:, COMMIT_WORD] <= self._pages_max)
        words: Words = np.frombuffer(data, f"{self._header.byte_order}u4").reshape(len(stored), -1)
        before = np.vstack([np.array([self._last], np.uint32), checksums[:-1]])
        continues = of_this_log & (self._weights.continued(words, before) == checksums).all(axis=1)
        self._last = (int(checksums[-1, 0]), int(checksums[-1, 1]))
        whole = 0
        if not self._is_broken:
            whole = len(continues) if continues.all() else int(continues.argmin())
            if (committed := commits[:whole].nonzero()[0]).size:
                self.committed = self.frames + int(committed[-1]) + 1
            self.frames += whole
            self.pages.update(stored[:whole, NUMBER_WORD].tolist())
            self._is_broken = whole < len(continues)
        if self._is_broken:
            after_commit = np.concatenate([[self._after_commit], commits[whole:-1]])
            self.is_damaged |= bool((after_commit & continues[whole:]).any())
            self._after_commit = bool(commits[-1])

    @property
    def checksum(self) -> tuple[int, int]:
        """The chain's checksum after the last frame that was fed: the log's, as long as ``frames`` counts all of them."""
        return self._last


@functools.cache
def _frame_weights(page_bytes: int) -> sums.Weights:
    """Return the weights of a frame's words: its first two and its page's are summed."""
    page_words = page_bytes // 4
    summed = [NUMBER_WORD, COMMIT_WORD, *range(_PAGE_WORD, _PAGE_WORD + page_words)]
    return sums.weights(len(summed)).spread(summed, _PAGE_WORD + page_words)
