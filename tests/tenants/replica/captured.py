"""A real database whose changes a real capture carries away, shipped by hand, and what it was at each transaction."""

from __future__ import annotations

import hashlib
import random
import subprocess
from pathlib import Path
from typing import Self

import apsw

from engine.capture import Capture
from engine.store import memories
from engine.store.connection import preload
from engine.store.database import Database
from tenants.replica.ownership.fence import put_fence
from tenants.replica.ownership.head import find_head
from tenants.replica.tree import FileInfo, Tree
from tests.engine.history import decode, new_folder, outbox
from tests.engine.memory_rows import add, change
from tests.tenants.replica.histories import BEGINNING_MS

TEXT = "the office cat sleeps on a printer that nobody has used since spring while rain falls over harbour and hill"

Rows = list[tuple[int, str]]


def digest(data: bytes) -> str:
    """Return what stands for a file that would be too large to keep."""
    return hashlib.sha256(data).hexdigest()


def rows_of(connection: apsw.Connection) -> Rows:
    """Return what is stored in a database."""
    return [(row[0], row[1]) for row in connection.execute("SELECT id, content FROM memories ORDER BY id")]


class CapturedDatabase:
    """One tenant's. A context manager. Its clock moves when a test says so."""

    def __init__(self, folder: Path, tree: Tree, seed: int = 0) -> None:
        self.folder = new_folder(folder / "tenant")
        self.tree = tree
        self.random = random.Random(seed)
        self.now_ms = BEGINNING_MS
        self.files: dict[int, str] = {}
        """Digests of the database's file after each transaction, once its log has been emptied into it."""
        self.rows: dict[int, Rows] = {}
        self.times: dict[int, int] = {}
        self._copy = folder / "copy"
        self._copy.mkdir()
        self._previous = ""

    def __enter__(self) -> Self:
        preload()
        self.database = self._open(self.folder, with_capture=True)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.database.close()

    @property
    def txid(self) -> int:
        """The last transaction that was shipped."""
        return max(self.times, default=0)

    def write(self, changes: int) -> None:
        """Commit some changes: new memories, short and long, changed ones, and some that are erased."""
        with self.database.write_group():
            for _ in range(changes):
                self._change()

    def restart(self) -> None:
        """End in order, and begin again."""
        self.database.close()
        self.ship_outbox()
        self.database = self._open(self.folder, with_capture=True)

    def take_over(self) -> None:
        """End, stand behind a fence as a new owner without what the old one knew, and begin with the whole database."""
        self.database.close()
        self.ship_outbox()
        before = self.txid
        fence = put_fence(self.tree, find_head(self.tree), 2)
        assert fence is not None
        assert fence.info is not None
        self._previous = fence.info.batch
        self.times[fence.txid] = fence.info.timestamp_ms
        self.rows[fence.txid], self.files[fence.txid] = self.rows[before], self.files[before]
        self.database = self._open(self.folder, with_capture=True, rebase=fence.txid)

    def ship(self) -> None:
        """Have everything captured and put into the tree."""
        self.now_ms += self.random.randrange(1, 90_000)
        self.database.flush()
        self.ship_outbox()

    def ship_outbox(self) -> None:
        """Put what was captured into the tree."""
        for path in outbox(self.folder):
            body = path.read_bytes()
            header, pages = decode(body)
            info = FileInfo(
                timestamp_ms=header.timestamp_ms,
                batch=hashlib.sha256(body).hexdigest(),
                previous=self._previous,
                epoch=1,
                checksum=header.node_id,
                pages=header.commit,
                whole=len(pages) == header.commit,
            )
            self.tree.put(0, header.min_txid, header.max_txid, body, info)
            self._previous = info.batch
            path.unlink()
            self.times[header.max_txid] = header.timestamp_ms
            self.rows[header.max_txid], self.files[header.max_txid] = self._look()

    def _change(self) -> None:
        kind = self.random.random()
        known = [memory_id for memory_id, _ in rows_of(self.database.connection)]
        if not known or kind < 0.5:
            add(self.database, self._text())
        elif kind < 0.8:
            change(self.database, self.random.choice(known), {"content": self._text()})
        else:
            erased = self.random.sample(known, min(len(known), self.random.choice([1] * 15 + [40])))
            memories.purge(self.database.connection, erased, self.now_ms * 1000)

    def _text(self) -> str:
        return " ".join(self.random.choices(TEXT.split(), k=self.random.choice([8, 30, 30, 3000])))

    def _look(self) -> tuple[Rows, str]:
        """Return what is stored, and the file that a checkpoint would make, from a copy: the capture has no part in it.

        Another process makes the copy, because closing the file in this one would drop SQLite's locks.
        """
        for path in self._copy.iterdir():
            path.unlink()
        present = [path for name in ("memory.db", "memory.db-wal") if (path := self.folder / name).exists()]
        subprocess.run(["cp", *present, self._copy], check=True)
        with self._open(self._copy, with_capture=False) as copied:
            assert copied.checkpoints.run()
            rows = rows_of(copied.connection)
        return rows, digest((self._copy / "memory.db").read_bytes())

    def _open(self, folder: Path, *, with_capture: bool, rebase: int | None = None) -> Database:
        def clock() -> int:
            return self.now_ms * 1000

        capture = Capture(folder, rebase=rebase, clock=clock) if with_capture else None
        return Database(folder / "memory.db", clock=clock, capture=capture)
