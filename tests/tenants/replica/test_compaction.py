"""Merged files say nothing new, come out the same whoever makes them, and may be broken off anywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ltx import Decoder, Header
from tenants.replica.history.compaction import compact
from tenants.replica.history.levels import span
from tenants.replica.history.listing import files_to
from tenants.replica.history.rebuild import BrokenHistory, rebuild
from tenants.replica.layout import LEVELS, ltx_key
from tenants.replica.objects import ObjectStore, StoreUnavailable
from tenants.replica.tree import Entry, Tree
from tests.tenants.replica.histories import TENANT, History, content, tree_in_memory, tree_of
from tests.tenants.replica.memory_store import MemoryStore, Wire


def ranges(tree: Tree, level: int) -> list[tuple[int, int]]:
    return [(each.min_txid, each.max_txid) for each in tree.entries(level)]


def header_of(tree: Tree, level: int, first: int, last: int) -> Header:
    decoder = Decoder()
    with tree.open(level, first, last) as (_, pieces):
        for piece in pieces:
            decoder.put(piece)
    event = decoder.take()
    assert isinstance(event, Header)
    return event


def test_each_level_merges_the_one_below(store: ObjectStore, tmp_path: Path) -> None:
    history = History(tree_of(store, tmp_path / "spool"))
    tree = history.tree
    history.write_some(131)

    assert compact(tree, tmp_path / "spool", 7) == 2
    assert compact(tree, tmp_path / "spool", 8) == 0

    assert ranges(tree, 1) == [(1, 64), (65, 128)]
    last = tree.info(0, 128, 128)
    info = tree.info(1, 65, 128)
    assert info is not None
    assert last is not None
    assert (info.epoch, info.previous, info.whole) == (7, "", False)
    assert (info.checksum, info.timestamp_ms, info.pages) == (last.checksum, last.timestamp_ms, last.pages)
    header = header_of(tree, 1, 65, 128)
    assert (header.node_id, header.timestamp_ms, header.commit) == (info.checksum, info.timestamp_ms, info.pages)
    first = tree.info(1, 1, 64)
    assert first is not None
    assert first.whole
    assert list((tmp_path / "spool").iterdir()) == []


def test_higher_levels(tmp_path: Path) -> None:
    tree, store = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    transactions = span(3) + span(2) + span(1) + 1
    history.write_some(transactions)

    made = compact(tree, tmp_path / "spool", 1)

    assert made == 1 + (16 + 1) + (256 + 16 + 1)
    assert ranges(tree, 3) == [(1, span(3))]
    assert ranges(tree, 2)[-1] == (span(3) + 1, span(3) + span(2))
    assert len(files_to(tree, transactions)) == 4
    before = dict(store.requests)
    assert compact(tree, tmp_path / "spool", 1) == 0
    assert {kind: count - before[kind] for kind, count in store.requests.items() if count > before[kind]} == {"list": 6}
    for txid in (span(3) - 1, span(3), span(3) + span(2), transactions):
        rebuild(tree, tmp_path / "database", txid=txid)
        assert history.states[txid] == (tmp_path / "database").read_bytes()


@settings(deadline=None, max_examples=25)
@given(
    steps=st.lists(
        st.tuples(st.integers(1, 9), st.dictionaries(st.integers(1, 9), st.integers(0, 99), max_size=3), st.integers(0, 15)),
        min_size=64,
        max_size=140,
    )
)
def test_merged_or_not_the_state_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, dict[int, int], int]]
) -> None:
    folder = tmp_path_factory.mktemp("history")
    tree, _ = tree_in_memory(folder / "spool")
    history = History(tree)
    for commit, changes, kind in steps:
        if kind == 0 and history.txid:
            history.fence()
        else:
            pages = {number: content(seed) for number, seed in changes.items()}
            history.write({1: content(history.txid), **pages}, commit=commit, whole=kind == 1)

    assert compact(tree, folder / "spool", 1) == len(steps) // 64

    for txid in {64, 65, 127, 128, 129, len(steps)} & history.states.keys():
        rebuild(tree, folder / "database", txid=txid)
        assert history.states[txid] == (folder / "database").read_bytes()


def test_what_holds_a_whole_file_is_whole(tmp_path: Path) -> None:
    tree, _ = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    history.write_some(100)
    history.write({3: content(3)}, whole=True)
    history.write({9: content(9)})
    history.write_some(60)

    compact(tree, tmp_path / "spool", 1)

    info = tree.info(1, 65, 128)

    assert info is not None
    assert info.whole


def test_fences_alone_make_a_fence(tmp_path: Path) -> None:
    tree, _ = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    history.write_some(64)
    for _ in range(64):
        history.fence()
    history.write({2: content(2)})

    assert compact(tree, tmp_path / "spool", 1) == 2

    assert header_of(tree, 1, 65, 128).commit == 7
    assert rebuild(tree, tmp_path / "database").txid == 129
    assert history.states[129] == (tmp_path / "database").read_bytes()


def test_nothing_is_merged_across_a_gap(tmp_path: Path) -> None:
    tree, _ = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    history.write_some(256)
    tree.delete([Entry(min_txid=100, max_txid=100, level=0, size=0)])

    assert compact(tree, tmp_path / "spool", 1) == 3

    assert ranges(tree, 1) == [(1, 64), (129, 192), (193, 256)]


def test_a_damaged_file_holds_up_its_own_merge_alone(tmp_path: Path) -> None:
    tree, store = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    history.write_some(256)
    damaged = store.objects[ltx_key(TENANT, 0, 70, 70)]
    damaged.body = damaged.body[:-1] + bytes([damaged.body[-1] ^ 1])

    with pytest.raises(BrokenHistory, match=rf"0000/{70:016x}-{70:016x}\.ltx"):
        compact(tree, tmp_path / "spool", 1)

    assert ranges(tree, 1) == [(1, 64), (129, 192), (193, 256)]
    assert list((tmp_path / "spool").iterdir()) == []
    assert compact(tree, tmp_path / "spool", 1) == 0


def test_two_who_merge_make_the_same(tmp_path: Path) -> None:
    """The second finds each file there, whenever that happens, and takes it for its own."""
    tree, store = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    history.write_some(64)
    bodies = []

    def carry(kind: str, carry_out: Callable[[], Any]) -> Any:
        if kind == "put" and not bodies:
            compact(tree, tmp_path / "other", 2)
            bodies.append(store.objects[ltx_key(TENANT, 1, 1, 64)].body)
        return carry_out()

    (tmp_path / "other").mkdir()

    assert compact(tree_of(Wire(store, carry), tmp_path / "spool"), tmp_path / "spool", 1) == 0

    del store.objects[ltx_key(TENANT, 1, 1, 64)]
    assert compact(tree, tmp_path / "spool", 1) == 1
    assert bodies == [store.objects[ltx_key(TENANT, 1, 1, 64)].body]


@pytest.mark.parametrize("is_lost", [False, True], ids=["before the request", "after it"])
def test_broken_off_at_any_request(tmp_path: Path, is_lost: bool) -> None:
    spool = tmp_path / "spool"
    tree, store = tree_in_memory(spool)
    history = History(tree)
    history.write_some(150)
    left = 0
    while True:
        attempt = MemoryStore(objects=dict(store.objects))
        left += 1
        remaining = left

        def carry(kind: str, carry_out: Callable[[], Any]) -> Any:
            nonlocal remaining
            remaining -= 1
            if remaining == 0:
                if is_lost:
                    carry_out()
                raise StoreUnavailable(kind)
            return carry_out()

        broken = tree_of(Wire(attempt, carry), spool)
        try:
            compact(broken, spool, 1)
        except StoreUnavailable:
            pass
        else:
            break
        # What a killed process leaves in the spool is in nobody's way.
        for name in ("merge-" + TENANT + f"-1-{1:016x}", "merge-" + TENANT + f"-1-{65:016x}"):
            (spool / f"{name}.pages").write_bytes(b"left")
            (spool / f"{name}.ltx").write_bytes(b"left")
        again = tree_of(attempt, spool)
        assert compact(again, spool, 1) + len(ranges(broken, 1)) >= 2
        assert [ranges(again, level) for level in LEVELS] == [[(1, 64), (65, 128)], [], []]
        rebuild(again, tmp_path / "database")
        assert history.states[150] == (tmp_path / "database").read_bytes()
        for path in spool.iterdir():
            path.unlink()
    assert left > 130
