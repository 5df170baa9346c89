"""How long it takes to restore a database from a directory and from a bucket, beside copying a file of as many bytes.

The tree holds a snapshot and what was written since: a thousand small files, of which most have been merged. The bucket is that
of a server on this machine, in Python: what it takes of the processor is in the figure.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3

from engine.ltx import CHECKSUM_FLAG, Encoder, Header, page_checksum
from tenants.replica.history.compaction import compact
from tenants.replica.history.listing import files_to
from tenants.replica.history.rebuild import Rebuilt, rebuild
from tenants.replica.history.snapshots import put_snapshot
from tenants.replica.objects import ObjectStore
from tenants.replica.stores import open_store
from tenants.replica.tree import FileInfo, Tree
from tests.bench import table
from tests.tenants.replica.histories import BEGINNING_MS, TENANT
from tests.tenants.replica.s3_server import BUCKET, CREDENTIALS, S3Server, store_url

PAGE_BYTES = 4096
_WORDS = [hashlib.sha256(str(number).encode()).hexdigest()[: 3 + number % 7] for number in range(4000)]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="scripts/bench restore", description=__doc__)
    options.add_argument("--megabytes", type=int, nargs="+", default=[10, 100, 1000])
    options.add_argument(
        "--increments", type=int, default=1000, help="files of five pages that were written since the snapshot"
    )
    options.add_argument("--folder", type=Path, default=None, help="where files are put, on the disk to be measured")
    given = options.parse_args()
    print(table.machine())
    rows = []
    for megabytes in given.megabytes:
        for kind in ("directory", "s3"):
            with tempfile.TemporaryDirectory(dir=given.folder) as name, opened(kind, Path(name)) as store:
                rows.append((f"{megabytes} MB, {kind}", *measured(store, Path(name), megabytes, given.increments)))
    head = ("database, store", "files read", "GET", "stored MB", "copy s", "restore s", "MB/s", "restore / copy")
    table.show("Time to restore", head, rows)


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[ObjectStore]:
    """Yield an empty store."""
    if kind == "directory":
        yield open_store(f"file://{folder}/store", {})
        return
    with S3Server() as server:
        names = {name.lower(): value for name, value in CREDENTIALS.items()}
        client = boto3.session.Session().client("s3", endpoint_url=server.endpoint, region_name="us-east-1", **names)
        client.create_bucket(Bucket=BUCKET)
        client.close()
        store = open_store(store_url(server.endpoint, "bench"), CREDENTIALS)
        yield store
        store.close()


def measured(store: ObjectStore, folder: Path, megabytes: int, increments: int) -> tuple[object, ...]:
    """Fill the store and restore from it; return the row's figures."""
    spool = folder / "spool"
    spool.mkdir()
    tree = Tree(store, TENANT, None, spool=spool)
    database = Written(tree, folder / "database", spool, megabytes * 2**20 // PAGE_BYTES)
    for _ in range(increments):
        database.change()
    compact(tree, spool, 1)
    files = files_to(tree, database.txid)

    began = time.perf_counter()
    with (folder / "database").open("rb") as source, (folder / "copy").open("wb") as copy:
        shutil.copyfileobj(source, copy, 2**20)
        copy.flush()
        os.fsync(copy.fileno())
    copy_s = time.perf_counter() - began
    gets = store.requests["get"]
    began = time.perf_counter()
    rebuilt = rebuild(tree, folder / "restored")
    restore_s = time.perf_counter() - began

    if rebuilt.checksum != database.checksum:
        raise SystemExit("what was restored is not what was written")
    stored = sum(entry.size for entry in files) / 2**20
    gets = store.requests["get"] - gets
    size = rebuilt.pages * PAGE_BYTES / 2**20
    ratio = f"{restore_s / copy_s:.1f} x"
    return len(files), gets, f"{stored:.0f}", f"{copy_s:.2f}", f"{restore_s:.2f}", f"{size / restore_s:.0f}", ratio


class Written:
    """A database of made-up pages, half text and half noise, which LZ4 makes two thirds of; and its history in a tree."""

    def __init__(self, tree: Tree, path: Path, spool: Path, pages: int) -> None:
        self._random = random.Random(pages)
        self._tree = tree
        self._path = path
        self._previous = ""
        self._sums = [0]
        self.checksum = CHECKSUM_FLAG
        self.txid = 1
        with path.open("wb") as file:
            for number in range(1, pages + 1):
                page = self._page()
                self._sums.append(page_checksum(number, page))
                self.checksum = CHECKSUM_FLAG | (self.checksum ^ self._sums[number])
                file.write(page)
        first = Rebuilt(txid=1, timestamp_ms=BEGINNING_MS, page_bytes=PAGE_BYTES, pages=pages, checksum=self.checksum)
        put_snapshot(tree, path, first, 1, spool)

    def change(self) -> None:
        """Change five pages, in a transaction of their own."""
        self.txid += 1
        numbers = sorted(self._random.sample(range(1, len(self._sums)), 5))
        pages = {number: self._page() for number in numbers}
        with self._path.open("r+b") as file:
            for number, page in pages.items():
                file.seek((number - 1) * PAGE_BYTES)
                file.write(page)
                before, self._sums[number] = self._sums[number], page_checksum(number, page)
                self.checksum = CHECKSUM_FLAG | (self.checksum ^ before ^ self._sums[number])
        header = Header(
            page_size=PAGE_BYTES,
            commit=len(self._sums) - 1,
            min_txid=self.txid,
            max_txid=self.txid,
            timestamp_ms=BEGINNING_MS + self.txid,
            node_id=self.checksum,
        )
        encoder = Encoder(header)
        body = b"".join([encoder.begin(), *(encoder.page(number, pages[number]) for number in numbers), encoder.end()])
        info = FileInfo(
            timestamp_ms=header.timestamp_ms,
            batch=hashlib.sha256(body).hexdigest(),
            previous=self._previous,
            epoch=1,
            checksum=self.checksum,
            pages=header.commit,
            whole=False,
        )
        self._tree.put(0, self.txid, self.txid, body, info)
        self._previous = info.batch

    def _page(self) -> bytes:
        text = " ".join(self._random.choices(_WORDS, k=400)).encode()
        return (self._random.randbytes(PAGE_BYTES // 2) + text)[:PAGE_BYTES].ljust(PAGE_BYTES)


if __name__ == "__main__":
    main()
