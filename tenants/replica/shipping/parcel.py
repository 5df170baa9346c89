"""A file of an outbox, read once: what was verified is what is shipped, whatever lies under its name a moment later.

Reading goes step by step, so that a large file of one tenant's does not hold up the others'. Blocking.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Generator
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path

from engine.ltx import Decoder, Header, LtxError, Page, lock_page
from tenants.replica.outbox import DATABASE_BYTES_MAX, OUTBOX, OutboxFile
from tenants.untrusted import Folder, Refused

MEMORY_BYTES_MAX = 2**20
"""Of a file that is held in memory on its way: thirty-two may be under way at once. Most increments are some ten kilobytes."""

_STEP_BYTES = 8 * 2**20
"""Of the database, looked at in one step: some 40 ms."""

_SPOOLED = "parcel-"


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """A file that is what it says."""

    file: OutboxFile
    body: bytes | Path
    """Its content; a path is a copy in the spool, to be removed with ``discard``."""
    batch: str
    """SHA-256, in hex."""
    timestamp_ms: int
    checksum: int
    """Of the database after it, as the engine says."""
    pages: int
    """Size of the database after it."""
    whole: bool
    """Whether it holds every page."""

    def discard(self) -> None:
        """Remove the copy, if there is one."""
        if isinstance(self.body, Path):
            self.body.unlink(missing_ok=True)


class Reading:
    """The reading of one file. ``step`` until there is a parcel; ``close`` if it is not read to its end."""

    def __init__(self, folder: Path, file: OutboxFile, spool: Path) -> None:
        """``folder`` is the tenant's."""
        self._file = file
        self._spool = spool
        self._decoder = Decoder(database_bytes_max=DATABASE_BYTES_MAX)
        self._digest = hashlib.sha256()
        self._header: Header | None = None
        self._pages = 0
        self._pieces: list[bytes] = []
        self._copy: BufferedWriter | None = None
        self._copy_path = spool / f"{_SPOOLED}{secrets.token_hex(8)}"
        self._steps = self._read(folder)

    def step(self) -> Parcel | None:
        """Read on a little; ``Refused`` if it is not what it says."""
        try:
            for _ in self._steps:
                return None
        except LtxError as error:
            self.close()
            raise Refused("malformed") from error
        except BaseException:
            self.close()
            raise
        return self._parcel()

    def close(self) -> None:
        """Leave nothing behind."""
        self._steps.close()
        if self._copy is not None:
            self._copy.close()
            self._copy_path.unlink(missing_ok=True)

    def _read(self, path: Path) -> Generator[None]:
        looked_at = 0
        with Folder(path) as folder:
            for piece in folder.pieces(f"{OUTBOX}/{self._file.name}", bytes_max=self._file.size):
                self._digest.update(piece)
                self._keep(piece)
                looked_at += len(piece)
                self._decoder.put(piece)
                while (event := self._decoder.take()) is not None:
                    if isinstance(event, Header):
                        self._take_header(event)
                    elif isinstance(event, Page):
                        self._pages += 1
                        looked_at += len(event.content)
                    if looked_at >= _STEP_BYTES:
                        looked_at = 0
                        yield
            self._decoder.close()

    def _take_header(self, header: Header) -> None:
        if (header.min_txid, header.max_txid) != (self._file.min_txid, self._file.max_txid):
            raise Refused("another's name")
        if header.has_checksums:
            raise Refused("checksums")  # Litestream reads no such file
        self._header = header

    def _keep(self, piece: bytes) -> None:
        if self._copy is None and self._file.size > MEMORY_BYTES_MAX:
            self._copy = self._copy_path.open("xb")
        if self._copy is not None:
            self._copy.write(piece)
        else:
            self._pieces.append(piece)

    def _parcel(self) -> Parcel:
        header = self._header
        assert header is not None
        body: bytes | Path = b"".join(self._pieces)
        if self._copy is not None:
            self._copy.close()
            body = self._copy_path
        return Parcel(
            file=self._file,
            body=body,
            batch=self._digest.hexdigest(),
            timestamp_ms=header.timestamp_ms,
            checksum=header.node_id,
            pages=header.commit,
            whole=self._pages == header.commit - (header.commit >= lock_page(header.page_size)),
        )


def sweep(spool: Path) -> None:
    """Remove what an earlier process left when it was killed: these copies, sealed ones, merged files, snapshots."""
    for pattern in (f"{_SPOOLED}*", "sealed-*", "merge-*", "snapshot-*"):
        for path in spool.glob(pattern):
            path.unlink(missing_ok=True)
