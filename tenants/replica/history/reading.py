"""Reads files of a tenant's, one after the other, with the next ones on their way meanwhile.

Small files are fetched eight at a time, or each would cost a round trip to the store. Of a large one some pieces are read
ahead. Either way what is held is bounded, and whoever reads a file to its end knows that it is the one that was put there.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from tenants.replica.objects import ObjectMissing
from tenants.replica.tree import Entry, FileInfo, NotOurs, Tree

_SMALL_BYTES_MAX = 2 * 2**20
"""Fetched whole. A larger file takes longer to read than to ask for."""

_FETCHES_MAX = 8
"""At once."""

_WAITING_BYTES_MAX = 32 * 2**20
"""Of small files that were fetched, or are being fetched, before their turn."""

_WAITING_FILES_MAX = 64

_PIECES_AHEAD = 16
"""Of a large file; a store's pieces have at most a megabyte."""

_LOOK_S = 0.2
"""How often a reader ahead looks whether anybody still wants to know."""


class Damaged(Exception):
    """A file is not what was put there, or is gone."""

    def __init__(self, entry: Entry, reason: str, *, is_gone: bool = False) -> None:
        super().__init__(f"{name_of(entry)} {reason}")
        self.entry = entry
        self.is_gone = is_gone


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One file, being read."""

    entry: Entry
    info: FileInfo
    pieces: Iterator[bytes]
    """All of it. ``Damaged`` after the last if that was not what was put there."""


def name_of(entry: Entry) -> str:
    """Return what an operator would look for in the store."""
    return f"{entry.level:04x}/{entry.min_txid:016x}-{entry.max_txid:016x}.ltx"


def read_in_order(tree: Tree, entries: Sequence[Entry]) -> Generator[Reading]:
    """Yield the files; each must be read to its end before the next is taken. ``Damaged`` for one that is missing."""
    waiting: deque[tuple[Entry, Future[tuple[FileInfo, bytes]] | None]] = deque()
    upcoming = deque(entries)
    held = 0
    with ThreadPoolExecutor(max_workers=_FETCHES_MAX, thread_name_prefix="history") as pool:
        try:
            while upcoming or waiting:
                while upcoming and (not waiting or _fits(upcoming[0], held, len(waiting))):
                    entry = upcoming.popleft()
                    is_small = entry.size <= _SMALL_BYTES_MAX
                    held += entry.size if is_small else 0
                    waiting.append((entry, pool.submit(_fetch, tree, entry) if is_small else None))
                entry, fetched = waiting.popleft()
                if fetched is None:
                    with _streamed(tree, entry) as reading:
                        yield reading
                else:
                    info, body = fetched.result()
                    yield Reading(entry=entry, info=info, pieces=iter((body,)))
                    held -= entry.size
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _fits(entry: Entry, held: int, files: int) -> bool:
    return files < _WAITING_FILES_MAX and held + entry.size <= _WAITING_BYTES_MAX


def _fetch(tree: Tree, entry: Entry) -> tuple[FileInfo, bytes]:
    with _opened(tree, entry) as (info, pieces):
        return info, b"".join(_checked(entry, info, pieces))


@contextmanager
def _streamed(tree: Tree, entry: Entry) -> Iterator[Reading]:
    with _opened(tree, entry) as (info, pieces), _read_ahead(_checked(entry, info, pieces)) as ahead:
        yield Reading(entry=entry, info=info, pieces=ahead)


@contextmanager
def _opened(tree: Tree, entry: Entry) -> Iterator[tuple[FileInfo, Iterator[bytes]]]:
    try:
        with tree.open(entry.level, entry.min_txid, entry.max_txid) as opened:
            yield opened
    except ObjectMissing:
        raise Damaged(entry, "is gone", is_gone=True) from None
    except NotOurs as error:
        raise Damaged(entry, f"is not what was put there: {error}") from error


def _checked(entry: Entry, info: FileInfo, pieces: Iterator[bytes]) -> Iterator[bytes]:
    digest = hashlib.sha256()
    try:
        for piece in pieces:
            digest.update(piece)
            yield piece
    except NotOurs as error:
        raise Damaged(entry, f"is not what was put there: {error}") from error
    if digest.hexdigest() != info.batch:
        raise Damaged(entry, "is not what was put there")


@contextmanager
def _read_ahead(pieces: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
    """Yield the same pieces, read by a thread that is ahead by a few. Leaving ends the thread."""
    ready: queue.Queue[bytes | BaseException | None] = queue.Queue(_PIECES_AHEAD)
    is_over = threading.Event()

    def put(item: bytes | BaseException | None) -> bool:
        while not is_over.is_set():
            try:
                ready.put(item, timeout=_LOOK_S)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for piece in pieces:
                if not put(piece):
                    return
            put(None)
        except BaseException as error:  # whatever it is, it belongs to whoever reads
            put(error)

    def taken() -> Iterator[bytes]:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=read, name="history-ahead")
    thread.start()
    try:
        yield taken()
    finally:
        is_over.set()
        thread.join()
