"""Which files make a state: as few as any choice could, never across a gap, and found with few listings."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenants.replica.history.compaction import blocks, compact
from tenants.replica.history.failures import BrokenHistory
from tenants.replica.history.levels import before_block, is_due, span
from tenants.replica.history.listing import files_to, newest_txid
from tenants.replica.history.plan import MissingTransaction, choose
from tenants.replica.history.rebuild import rebuild
from tenants.replica.history.snapshots import put_snapshot
from tenants.replica.tree import Entry
from tests.tenants.replica.histories import History, tree_in_memory


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    """Return files as no compactor of ours would leave them: of any range, overlapping, with gaps."""
    found = []
    for first, length, level in draw(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 8), st.integers(0, 3)))):
        found.append(Entry(min_txid=first, max_txid=first + length - 1, level=level, size=1))
    return found


def fewest(files: list[Entry], reached: int, target: int) -> int | None:
    """Return the length of the shortest way from ``reached`` to ``target``, trying all of them."""
    ends, steps = {reached}, 0
    while target not in ends:
        further = ends | {each.max_txid for each in files for end in ends if each.min_txid <= end + 1 <= each.max_txid + 1}
        further = {end for end in further if end <= target}
        if further == ends:
            return None
        ends, steps = further, steps + 1
    return steps


@settings(deadline=None)
@given(entries(), st.integers(1, 25), st.none() | st.integers(1, 25))
def test_no_choice_is_shorter(files: list[Entry], target: int, snapshot: int | None) -> None:
    base = None if snapshot is None or snapshot > target else Entry(min_txid=1, max_txid=snapshot, level=9, size=1)
    reached = base.max_txid if base else 0

    best = fewest([each for each in files if each.max_txid > reached], reached, target)

    if best is None:
        with pytest.raises(BrokenHistory):
            choose(files, target, base=base)
        return
    chosen = choose(files, target, base=base)
    assert best == len(chosen) - (base is not None)
    for file in chosen[1:] if base else chosen:
        assert file.min_txid <= reached + 1 <= file.max_txid
        reached = file.max_txid
    assert reached == target


def test_the_missing_transaction_is_named() -> None:
    files = [Entry(min_txid=n, max_txid=n, level=0, size=1) for n in (1, 2, 4)]

    with pytest.raises(MissingTransaction, match="transaction 3 is missing"):
        choose(files, 4)


@settings(deadline=None)
@given(st.integers(0, 100_000), st.integers(0, 3))
def test_a_block_holds_its_transactions(txid: int, level: int) -> None:
    before = before_block(level, txid)

    assert before % span(level) == 0
    assert before < txid <= before + span(level) or txid == before == 0


def test_merging_is_due_by_count() -> None:
    assert not is_due(0, 63)
    assert is_due(63, 64)
    assert not is_due(64, 127)
    assert is_due(100, 300)


@settings(deadline=None)
@given(st.sets(st.integers(1, 40)), st.sampled_from([1, 4, 8]))
def test_a_block_is_merged_when_it_is_all_there(present: set[int], size: int) -> None:
    listed = [Entry(min_txid=n, max_txid=n, level=0, size=1) for n in sorted(present)]

    made = [[each.min_txid for each in block] for block in blocks(listed, size)]

    whole = [[*range(first, first + size)] for first in range(1, 41, size)]
    assert [block for block in whole if present.issuperset(block)] == made


def test_what_is_listed_is_what_is_needed(tmp_path: Path) -> None:
    tree, store = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    history.write_some(1100)
    compact(tree, tmp_path / "spool", 1)
    rebuilt = rebuild(tree, tmp_path / "database", txid=1030)
    put_snapshot(tree, tmp_path / "database", rebuilt, 1, tmp_path / "spool")

    def planned(target: int) -> tuple[list[tuple[int, int, int]], int]:
        before = store.requests["list"]
        files = [(each.level, each.min_txid, each.max_txid) for each in files_to(tree, target)]
        return files, store.requests["list"] - before

    assert planned(1030) == ([(9, 1, 1030)], 1)
    # Behind a snapshot, and before the next merged file ends, comes level 0 alone; the others are asked and have nothing.
    assert ([(9, 1, 1030), *((0, n, n) for n in range(1031, 1036))], 5) == planned(1035)
    assert ([(9, 1, 1030), (1, 1025, 1088), *((0, n, n) for n in range(1089, 1101))], 5) == planned(1100)
    assert planned(1025) == ([(2, 1, 1024), (0, 1025, 1025)], 5)
    assert planned(129) == ([(1, 1, 64), (1, 65, 128), (0, 129, 129)], 5)
    before = store.requests["list"]
    assert newest_txid(tree) == 1100
    assert store.requests["list"] - before == 4


def test_a_merged_file_that_is_missing_is_made_up_for(tmp_path: Path) -> None:
    tree, _ = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    history.write_some(200)
    compact(tree, tmp_path / "spool", 1)
    tree.delete([Entry(min_txid=65, max_txid=128, level=1, size=0)])

    assert [(1, 1), *((0, n) for n in range(65, 129)), (1, 129), *((0, n) for n in range(193, 201))] == [
        (each.level, each.min_txid) for each in files_to(tree, 200)
    ]
    tree.delete([Entry(min_txid=100, max_txid=100, level=0, size=0)])
    with pytest.raises(BrokenHistory, match="transaction 100 is missing"):
        files_to(tree, 200)
    assert len(files_to(tree, 99)) == 1 + 35


def test_a_whole_file_heals_history(tmp_path: Path) -> None:
    """What came before it is lost, if a file of it is; what comes after is not."""
    tree, _ = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    history.write_some(30)
    history.write({2: b"\x07" * 512}, whole=True)
    history.write_some(9)
    tree.delete([Entry(min_txid=20, max_txid=20, level=0, size=0)])

    rebuild(tree, tmp_path / "database")

    assert history.states[40] == (tmp_path / "database").read_bytes()
    with pytest.raises(BrokenHistory, match="transaction 20 is missing"):
        rebuild(tree, tmp_path / "database", txid=30)
    assert not (tmp_path / "database").exists()
