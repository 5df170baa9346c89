"""Histories made by hand: a database that changes as a test says, each change one file of level 0, as engines and owners write
them, and what the database was after each."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

from engine.ltx import Encoder, Header, database_checksum, page_checksum
from tenants.replica.layout import INCREMENTS
from tenants.replica.objects import ObjectStore
from tenants.replica.tree import FileInfo, Tree
from tests.tenants.replica.memory_store import MemoryStore

TENANT = "db_" + "a" * 20
PAGE = 512
BEGINNING_MS = 1_700_000_000_000


def tree_of(store: ObjectStore, spool: Path) -> Tree:
    """Return a tenant's tree in ``store``, as it is stored without keys."""
    spool.mkdir(exist_ok=True)
    return Tree(store, TENANT, None, spool=spool)


def tree_in_memory(spool: Path) -> tuple[Tree, MemoryStore]:
    """Return one whose objects a test can look at and damage."""
    store = MemoryStore()
    return tree_of(store, spool), store


def content(seed: int, size: int = PAGE) -> bytes:
    """Return a page that tells which it is."""
    return hashlib.sha256(str(seed).encode()).digest() * (size // 32)


def set_ahead(tree: Tree, ahead_ms: int) -> None:
    """Make a stored history one of a node whose clock was fast."""
    for entry in list(tree.entries(INCREMENTS)):
        with tree.open(entry.level, entry.min_txid, entry.max_txid) as (info, pieces):
            body = b"".join(pieces)
        tree.delete([entry])
        later = dataclasses.replace(info, timestamp_ms=info.timestamp_ms + ahead_ms)
        tree.put(entry.level, entry.min_txid, entry.max_txid, body, later)


def ltx(header: Header, pages: Mapping[int, bytes]) -> bytes:
    """Return an LTX file."""
    encoder = Encoder(header)
    return b"".join([encoder.begin(), *(encoder.page(number, pages[number]) for number in sorted(pages)), encoder.end()])


class History:
    """One tenant's, growing."""

    def __init__(self, tree: Tree, *, page_size: int = PAGE) -> None:
        self.tree = tree
        self.page_size = page_size
        self.database: list[bytes] = []
        self.txid = 0
        self.at_ms = BEGINNING_MS
        self.states: dict[int, bytes] = {}
        self.times: dict[int, int] = {}
        self.previous = ""

    @property
    def checksum(self) -> int:
        """Of the database now."""
        return database_checksum(page_checksum(number, page) for number, page in enumerate(self.database, 1))

    def write(
        self, changes: Mapping[int, bytes], *, commit: int | None = None, after_ms: int = 1000, whole: bool = False
    ) -> None:
        """Change these pages; ``commit`` is the number of pages then. Pages that are new and not given are made up."""
        commit = commit or max([len(self.database), *changes])
        made_up = {number: content(self.txid * 1000 + number) for number in range(len(self.database) + 1, commit + 1)}
        pages = {number: page for number, page in {**made_up, **changes}.items() if number <= commit}
        del self.database[commit:]
        for number in sorted(pages):
            self.database[number - 1 : number] = [pages[number]]
        self._put(dict(enumerate(self.database, 1)) if whole or not self.txid else pages, after_ms)

    def fence(self) -> None:
        """Put a file without pages, as a new owner does."""
        self._put({}, 1)

    def write_some(self, files: int) -> None:
        """Write as many files, each changing a page or two of seven."""
        for number in range(files):
            self.write({self.txid * 3 % 7 + 1: content(number + 31 * self.txid), 1: content(self.txid)}, commit=7)

    def _put(self, pages: Mapping[int, bytes], after_ms: int) -> None:
        self.txid += 1
        self.at_ms += after_ms
        checksum = self.checksum
        header = Header(
            page_size=self.page_size,
            commit=len(self.database),
            min_txid=self.txid,
            max_txid=self.txid,
            timestamp_ms=self.at_ms,
            node_id=checksum,
        )
        body = ltx(header, pages)
        info = FileInfo(
            timestamp_ms=self.at_ms,
            batch=hashlib.sha256(body).hexdigest(),
            previous=self.previous,
            epoch=1,
            checksum=checksum,
            pages=len(self.database),
            whole=len(pages) == len(self.database),
        )
        self.tree.put(0, self.txid, self.txid, body, info)
        self.previous = info.batch
        self.states[self.txid] = b"".join(self.database)
        self.times[self.txid] = self.at_ms
