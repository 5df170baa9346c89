"""A tenant whose engine is played by the test: what it captures, where and in which order an engine puts it, and how to check
that the store has it all."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from engine.captured import CAPTURED_FILE, FILE_BYTES, Position, encode_slot, slot_offset
from engine.layout import engine_socket, tenant_folder
from engine.ltx import Encoder, Header, database_checksum, file_name, page_checksum
from tenants.replica.history.rebuild import rebuild
from tenants.replica.layout import INCREMENTS
from tenants.replica.tree import Tree

PAGE = 512


class Writer:
    """One tenant's. It can go on from what an earlier one left, as an engine that starts again."""

    def __init__(self, data: Path, tenant: str) -> None:
        self.tenant = tenant
        self.folder = tenant_folder(data, tenant)
        self.outbox = self.folder / "outbox"
        self.outbox.mkdir(parents=True, exist_ok=True)
        self.socket = engine_socket(data, tenant)
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self.pages: list[bytes] = []
        self.txid = 0
        self.at_ms = 0
        self.batches: dict[int, str] = {}
        (self.folder / "memory.db").touch()

    def live(self) -> None:
        """Appear as a running engine."""
        draft = self.socket.with_name(f".{self.socket.name}")
        draft.touch()
        draft.replace(self.socket)

    def sleep(self) -> None:
        """End."""
        self.socket.unlink()

    def write(self, count: int = 1, *, whole: bool = False, pages: int = 5) -> int:
        """Capture so many changes, and return the last transaction."""
        for _ in range(count):
            self.txid += 1
            body = self._next(whole=whole or self.txid == 1, pages=pages)
            self.batches[self.txid] = hashlib.sha256(body).hexdigest()
            draft = self.outbox / (file_name(self.txid, self.txid) + ".new")
            draft.write_bytes(body)
            self._note()
            draft.replace(self.outbox / file_name(self.txid, self.txid))
        return self.txid

    def waiting(self) -> list[str]:
        """Return what lies in the outbox."""
        return sorted(path.name for path in self.outbox.iterdir())

    def remember(self, path: Path) -> None:
        """Keep what this one knows, for a test's other process."""
        path.write_text(json.dumps(self.batches))

    def check(self, tree: Tree, spool: Path) -> None:
        """Assert that the store has every change once, as it was, each following on the one before; and that a restore is the
        database as it is."""
        entries = list(tree.entries(INCREMENTS))
        assert [(entry.min_txid, entry.max_txid) for entry in entries] == [(txid, txid) for txid in range(1, self.txid + 1)]
        previous = ""
        for txid in range(1, self.txid + 1):
            info = tree.info(INCREMENTS, txid, txid)
            assert info is not None
            assert (info.batch, info.previous) == (self.batches[txid], previous)
            previous = info.batch
        rebuilt = spool / f"rebuilt-{self.tenant}"
        rebuild(tree, rebuilt)
        assert rebuilt.read_bytes() == b"".join(self.pages)

    def _next(self, *, whole: bool, pages: int) -> bytes:
        self.at_ms = max(time.time_ns() // 1_000_000, self.at_ms + 1)
        while len(self.pages) < pages:
            self.pages.append(b"")
        changed = {self.txid % pages, (self.txid * 7 + 3) % pages}
        for number in range(pages):
            if number in changed or not self.pages[number]:
                self.pages[number] = hashlib.sha256(f"{self.txid}-{number}".encode()).digest() * (PAGE // 32)
                changed.add(number)
        header = Header(
            page_size=PAGE,
            commit=pages,
            min_txid=self.txid,
            max_txid=self.txid,
            timestamp_ms=self.at_ms,
            node_id=self._checksum(),
        )
        encoder = Encoder(header)
        held = range(pages) if whole else sorted(changed)
        return b"".join([encoder.begin(), *(encoder.page(number + 1, self.pages[number]) for number in held), encoder.end()])

    def _checksum(self) -> int:
        return database_checksum(page_checksum(number, page) for number, page in enumerate(self.pages, 1))

    def _note(self) -> None:
        path = self.folder / CAPTURED_FILE
        if not path.exists():
            path.write_bytes(bytes(FILE_BYTES))
        position = Position(
            serial=self.txid,
            txid=self.txid,
            timestamp_ms=self.at_ms,
            page_bytes=PAGE,
            pages=len(self.pages),
            checksum=self._checksum(),
        )
        with path.open("r+b") as file:
            file.seek(slot_offset(position.serial))
            file.write(encode_slot(position))
