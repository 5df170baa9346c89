"""The real Litestream reads our trees: from a folder and from a bucket, whatever was merged, snapshotted and given up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tenants.replica.history.compaction import compact
from tenants.replica.history.rebuild import rebuild
from tenants.replica.history.retention import expire
from tenants.replica.history.snapshots import put_snapshot
from tenants.replica.stores import open_store
from tests.tenants.replica import litestream
from tests.tenants.replica.captured import CapturedDatabase, digest
from tests.tenants.replica.histories import tree_of
from tests.tenants.replica.s3_server import CREDENTIALS

pytestmark = pytest.mark.timeout(900)  # building Litestream takes some minutes, once

TRANSACTIONS = 70
_ROWS = "SELECT id, content FROM memories ORDER BY id;"


@pytest.fixture
def captured(store_address: str, tmp_path: Path) -> Iterator[CapturedDatabase]:
    store = open_store(store_address, CREDENTIALS)
    with CapturedDatabase(tmp_path, tree_of(store, tmp_path / "spool")) as database:
        while database.txid < TRANSACTIONS:
            database.write(2)
            database.ship()
            if database.txid == 50:
                database.restart()
        yield database
    store.close()


@pytest.fixture(scope="session")
def program() -> Path:
    return litestream.build()


def snapshot(captured: CapturedDatabase, txid: int, folder: Path) -> None:
    rebuilt = rebuild(captured.tree, folder / "rebuilt", txid=txid)
    put_snapshot(captured.tree, folder / "rebuilt", rebuilt, 1, folder / "spool")


def test_its_program_restores_what_we_do(captured: CapturedDatabase, store_address: str, tmp_path: Path, program: Path) -> None:
    url = litestream.replica_url(store_address)

    def agrees(*txids: int) -> None:
        for txid in txids:
            restored = litestream.restore(program, url, tmp_path / "restored", "-txid", f"{txid:016x}")
            assert captured.files[txid] == digest(restored)
        assert captured.files[TRANSACTIONS] == digest(litestream.restore(program, url, tmp_path / "restored"))

    agrees(1, 2, 40, 64, 69)  # level 0 alone

    assert compact(captured.tree, tmp_path / "spool", 1) == 1
    agrees(1, 63, 64, 65)

    snapshot(captured, 10, tmp_path)
    snapshot(captured, 65, tmp_path)
    agrees(1, 9, 10, 11, 64, 65, 66)

    assert expire(captured.tree, captured.times[66]) == 1 + 64 + 1
    agrees(65, 66)


@pytest.mark.parametrize("store_address", ["directory"], indirect=True)
def test_its_program_restores_a_moment(store_address: str, captured: CapturedDatabase, tmp_path: Path, program: Path) -> None:
    """To the millisecond: a tree says when each transaction was captured where Litestream looks for it.

    It takes what came before the moment, and we what came by then. Of a bucket it asks first whether anything was put there by
    then, by the server's clock, which is not this test's.
    """
    url = litestream.replica_url(store_address)
    snapshot(captured, 60, tmp_path)

    for txid in (1, 2, 50, 60, 61, 69):
        for at_ms in (captured.times[txid] + 1, captured.times[txid + 1]):
            restored = litestream.restore(program, url, tmp_path / "restored", "-timestamp", litestream.moment(at_ms))
            assert captured.files[txid] == digest(restored)
            assert rebuild(captured.tree, tmp_path / "rebuilt", at_ms=at_ms - 1).txid == txid


def test_its_reader_sees_the_rows(store_address: str, captured: CapturedDatabase, tmp_path: Path) -> None:
    reader, url = litestream.Reader(), litestream.replica_url(store_address)

    def rows(*statements: str) -> list[tuple[int, str]]:
        return [(row["id"], row["content"]) for row in reader.query(url, *statements, _ROWS)]

    assert captured.rows[TRANSACTIONS] == rows()
    assert reader.query(url, "PRAGMA integrity_check;") == [{"integrity_check": "ok"}]
    compact(captured.tree, tmp_path / "spool", 1)
    snapshot(captured, 40, tmp_path)
    expire(captured.tree, captured.times[45])
    for txid in (40, 50, 64, 66):
        at = litestream.moment(captured.times[txid] + 1)
        assert captured.rows[txid] == rows(f"PRAGMA litestream_time = '{at}';")
    assert captured.rows[TRANSACTIONS] == rows()


def test_its_reader_fetches_the_same_pages(store_address: str, captured: CapturedDatabase, tmp_path: Path) -> None:
    compact(captured.tree, tmp_path / "spool", 1)

    litestream.Reader().fetch(litestream.replica_url(store_address), tmp_path / "fetched")

    assert captured.files[TRANSACTIONS] == digest((tmp_path / "fetched").read_bytes())
