"""What a restore may still ask for stays as it was; what is older goes, and the rest says truly how far back it goes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenants.replica.history.compaction import compact
from tenants.replica.history.rebuild import NothingToRestore, rebuild
from tenants.replica.history.retention import expire
from tenants.replica.history.snapshots import put_snapshot
from tenants.replica.history.timeline import earliest_ms
from tenants.replica.layout import ltx_key
from tenants.replica.objects import ObjectStore, StoreUnavailable
from tenants.replica.tree import Tree
from tests.tenants.replica.histories import TENANT, History, tree_in_memory, tree_of
from tests.tenants.replica.memory_store import MemoryStore


def snapshot(history: History, txid: int, folder: Path) -> None:
    rebuilt = rebuild(history.tree, folder / "database", txid=txid)
    put_snapshot(history.tree, folder / "database", rebuilt, 1, folder / "spool")


def listed(tree: Tree, level: int) -> list[tuple[int, int]]:
    return [(each.min_txid, each.max_txid) for each in tree.entries(level)]


def test_what_is_needed_stays(store: ObjectStore, tmp_path: Path) -> None:
    tree = tree_of(store, tmp_path / "spool")
    history = History(tree)
    history.write_some(140)
    compact(tree, tmp_path / "spool", 1)
    for txid in (10, 70, 100):
        snapshot(history, txid, tmp_path)

    assert expire(tree, history.times[10] - 1) == 0
    assert expire(tree, history.times[99]) == 1 + 69 + 1
    assert expire(tree, history.times[99]) == 0

    assert listed(tree, 9) == [(1, 70), (1, 100)]
    assert listed(tree, 1) == [(65, 128)]
    assert listed(tree, 0) == [(n, n) for n in range(70, 141)]
    assert earliest_ms(tree) == history.times[70]
    for at_txid in (70, 71, 99, 100, 128, 139):
        assert rebuild(tree, tmp_path / "database", at_ms=history.times[at_txid] + 500).txid == at_txid
        assert history.states[at_txid] == (tmp_path / "database").read_bytes()
    for which in ({"at_ms": history.times[70] - 1}, {"txid": 69}, {"txid": 64}):
        with pytest.raises(NothingToRestore) as raised:
            rebuild(tree, tmp_path / "database", **which)
        assert raised.value.earliest_ms == history.times[70]


def test_without_a_snapshot_nothing_goes(tmp_path: Path) -> None:
    tree, _ = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    history.write_some(70)
    compact(tree, tmp_path / "spool", 1)

    assert expire(tree, history.times[70] * 2) == 0


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_every_later_moment_is_restored_the_same(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("history")
    tree, _ = tree_in_memory(folder / "spool")
    history = History(tree)
    since = 1
    for _ in range(data.draw(st.integers(1, 4))):
        history.write_some(data.draw(st.integers(1, 100)))
        for action in data.draw(st.lists(st.sampled_from([compact, snapshot, expire]), max_size=3)):
            if action is compact:
                compact(tree, folder / "spool", 1)
            elif action is snapshot:
                snapshot(history, data.draw(st.integers(since, history.txid)), folder)
            else:
                since = data.draw(st.integers(since, history.txid))
                expire(tree, history.times[since])

    earliest = earliest_ms(tree)

    assert earliest is not None
    assert earliest <= history.times[since]
    for txid in data.draw(st.sets(st.integers(since, history.txid), min_size=1, max_size=8)):
        assert rebuild(tree, folder / "database", at_ms=history.times[txid]).txid == txid
        assert history.states[txid] == (folder / "database").read_bytes()


@dataclass
class BreaksOff(MemoryStore):
    """Fails at one request to remove, after half of what it was to remove is gone."""

    deletes_left: int = 0

    def delete(self, keys: Iterable[str]) -> None:
        self.deletes_left -= 1
        if self.deletes_left == 0:
            super().delete([*keys][::2])
            raise StoreUnavailable("broken off")
        super().delete(keys)


@pytest.mark.parametrize("step", range(1, 6))
def test_broken_off_anywhere(tmp_path: Path, step: int) -> None:
    """Whatever is left says truly from when on it can be restored, and the next time the rest goes."""
    tree, store = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    history.write_some(200)
    compact(tree, tmp_path / "spool", 1)
    for txid in (10, 70, 150, 180):
        snapshot(history, txid, tmp_path)
    breaking = BreaksOff(objects=store.objects, deletes_left=step)

    if step <= 4:  # older snapshots, the first file, the other files, merged files
        with pytest.raises(StoreUnavailable):
            expire(tree_of(breaking, tmp_path / "spool"), history.times[170])
    else:
        assert expire(tree_of(breaking, tmp_path / "spool"), history.times[170]) == 2 + 149 + 2

    earliest = earliest_ms(tree)
    assert earliest is not None
    assert earliest <= history.times[150]
    for txid in (1, 2, 10, 11, 69, 70, 99, 150, 151, 200):
        if history.times[txid] < earliest:
            with pytest.raises(NothingToRestore):
                rebuild(tree, tmp_path / "database", at_ms=history.times[txid])
        else:
            assert rebuild(tree, tmp_path / "database", at_ms=history.times[txid]).txid == txid
            assert history.states[txid] == (tmp_path / "database").read_bytes()
    expire(tree, history.times[170])
    assert listed(tree, 0) == [(n, n) for n in range(150, 201)]
    assert listed(tree, 1) == [(129, 192)]
    assert listed(tree, 9) == [(1, 150), (1, 180)]


def test_a_snapshot_of_which_nothing_is_known_is_not_built_upon(tmp_path: Path) -> None:
    tree, store = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    history.write_some(30)
    for txid in (5, 10, 20):
        snapshot(history, txid, tmp_path)
    store.objects[ltx_key(TENANT, 9, 1, 20)].metadata = {}

    assert expire(tree, history.times[25]) == 1 + 9
    assert listed(tree, 9) == [(1, 10), (1, 20)]
    assert rebuild(tree, tmp_path / "database", at_ms=history.times[15]).txid == 15
    assert len(rebuild(tree, tmp_path / "database").avoided) == 1
    assert history.states[30] == (tmp_path / "database").read_bytes()
