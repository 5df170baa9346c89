"""A snapshot is the database that was rebuilt, whole, and a restore begins with the newest that is not too new."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenants.replica.history.listing import files_to
from tenants.replica.history.rebuild import BrokenHistory, rebuild
from tenants.replica.history.snapshots import latest_snapshot, put_snapshot
from tenants.replica.objects import ObjectStore
from tests.tenants.replica.histories import History, content, tree_in_memory, tree_of


def test_a_restore_begins_with_it(store: ObjectStore, tmp_path: Path) -> None:
    tree = tree_of(store, tmp_path / "spool")
    history = History(tree)
    assert latest_snapshot(tree) is None
    for txid in (3, 8):
        history.write_some(txid - history.txid)
        rebuilt = rebuild(tree, tmp_path / "database")
        assert put_snapshot(tree, tmp_path / "database", rebuilt, 5, tmp_path / "spool")
        assert not put_snapshot(tree, tmp_path / "database", rebuilt, 6, tmp_path / "spool")
    history.write({9: content(9)})

    newest = latest_snapshot(tree)
    assert newest is not None
    assert (newest.level, newest.min_txid, newest.max_txid) == (9, 1, 8)
    info, last = tree.info(9, 1, 8), tree.info(0, 8, 8)
    assert info is not None
    assert last is not None
    assert (info.epoch, info.whole, info.previous) == (5, True, "")
    assert (info.timestamp_ms, info.checksum, info.pages) == (last.timestamp_ms, last.checksum, last.pages)
    for txid, files in ((1, 1), (3, 1), (7, 5), (8, 1), (9, 2)):
        assert len(files_to(tree, txid)) == files
        assert rebuild(tree, tmp_path / "database", txid=txid).txid == txid
        assert history.states[txid] == (tmp_path / "database").read_bytes()
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_file_that_was_changed_since_is_not_stored(tmp_path: Path) -> None:
    tree, _ = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    history.write_some(5)
    rebuilt = rebuild(tree, tmp_path / "database")
    data = bytearray((tmp_path / "database").read_bytes())
    data[700] ^= 1
    (tmp_path / "database").write_bytes(data)

    with pytest.raises(BrokenHistory, match="no longer"):
        put_snapshot(tree, tmp_path / "database", rebuilt, 1, tmp_path / "spool")

    assert latest_snapshot(tree) is None
    assert list((tmp_path / "spool").iterdir()) == []
