"""The state at a moment is the last one captured by then, and finding it takes few requests."""

from __future__ import annotations

from math import log2
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenants.replica.history.compaction import compact
from tenants.replica.history.failures import BrokenHistory, NothingToRestore
from tenants.replica.history.rebuild import rebuild
from tenants.replica.history.retention import expire
from tenants.replica.history.snapshots import put_snapshot
from tenants.replica.history.timeline import earliest_ms, locate
from tenants.replica.layout import ltx_key
from tenants.replica.tree import Entry
from tests.tenants.replica.histories import BEGINNING_MS, TENANT, History, content, tree_in_memory


@settings(deadline=None)
@given(steps=st.lists(st.integers(1, 1000), min_size=1, max_size=40), at=st.integers(-10, 41_000))
def test_the_last_one_by_then(tmp_path_factory: pytest.TempPathFactory, steps: list[int], at: int) -> None:
    tree, _ = tree_in_memory(tmp_path_factory.mktemp("history") / "spool")
    history = History(tree)
    for step in steps:
        history.write({1: content(step)}, after_ms=step)

    expected = max((txid for txid, at_ms in history.times.items() if at_ms <= BEGINNING_MS + at), default=None)

    assert earliest_ms(tree) == history.times[1]
    if expected is None:
        with pytest.raises(NothingToRestore) as raised:
            locate(tree, BEGINNING_MS + at)
        assert raised.value.earliest_ms == history.times[1]
    else:
        assert locate(tree, BEGINNING_MS + at) == expected


def test_nothing_was_stored(tmp_path: Path) -> None:
    tree, _ = tree_in_memory(tmp_path / "spool")

    assert earliest_ms(tree) is None
    with pytest.raises(NothingToRestore):
        locate(tree, BEGINNING_MS)


def test_it_takes_few_requests(tmp_path: Path) -> None:
    tree, store = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    history.write_some(5000)
    compact(tree, tmp_path / "spool", 1)

    for txid in (1, 2, 63, 64, 1024, 3333, 4999):
        before = dict(store.requests)
        assert locate(tree, history.times[txid]) == txid
        spent = {kind: count - before[kind] for kind, count in store.requests.items() if count > before[kind]}
        assert spent.keys() == {"list", "head"}
        assert spent["list"] == 5
        assert spent["head"] <= 2 + log2(5000) + 1
    before = dict(store.requests)
    assert locate(tree, history.times[5000]) == 5000
    assert store.requests["head"] - before["head"] == 2


def test_after_the_beginning_was_given_up(tmp_path: Path) -> None:
    tree, _ = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    history.write_some(90)
    compact(tree, tmp_path / "spool", 1)
    for txid in (30, 50):
        rebuilt = rebuild(tree, tmp_path / "database", txid=txid)
        put_snapshot(tree, tmp_path / "database", rebuilt, 1, tmp_path / "spool")
    assert earliest_ms(tree) == history.times[1]

    expire(tree, history.times[31])

    assert earliest_ms(tree) == history.times[30]
    assert [locate(tree, history.times[txid] + 999) for txid in (30, 31, 49, 50, 51, 90)] == [30, 31, 49, 50, 51, 90]
    with pytest.raises(NothingToRestore) as raised:
        locate(tree, history.times[30] - 1)
    assert raised.value.earliest_ms == history.times[30]


def test_a_missing_or_damaged_file_is_stepped_over(tmp_path: Path) -> None:
    """The question falls on it by chance: what is asked for may be in order."""
    tree, store = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    history.write_some(64)
    tree.delete([Entry(min_txid=n, max_txid=n, level=0, size=0) for n in (33, 49, 50)])
    for txid in (51, 64):
        store.objects[ltx_key(TENANT, 0, txid, txid)].metadata = {}

    found = {txid: locate(tree, history.times[txid]) for txid in range(1, 65)}

    assert found == {txid: {33: 32, 49: 48, 50: 48, 51: 48, 64: 63}.get(txid, txid) for txid in range(1, 65)}


def test_a_damaged_beginning_is_told(tmp_path: Path) -> None:
    tree, store = tree_in_memory(tmp_path / "spool")
    History(tree).write_some(3)
    store.objects[ltx_key(TENANT, 0, 1, 1)].metadata = {}

    with pytest.raises(BrokenHistory, match="nobody can tell"):
        earliest_ms(tree)
