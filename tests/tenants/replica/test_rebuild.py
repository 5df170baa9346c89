"""A state is put together from the store alone, byte for byte, or not at all: damage is gone around, or told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.ltx import Header
from tenants.replica.history.compaction import compact
from tenants.replica.history.rebuild import BrokenHistory, NothingToRestore, rebuild
from tenants.replica.history.snapshots import put_snapshot
from tenants.replica.layout import ltx_key
from tenants.replica.objects import ObjectStore, StoreUnavailable
from tenants.replica.tree import FileInfo
from tenants.replica.trees import Trees
from tests.tenants.replica.histories import BEGINNING_MS, TENANT, History, content, ltx, tree_in_memory, tree_of
from tests.tenants.replica.memory_store import MemoryStore, Wire


def key(level: int, first: int, last: int) -> str:
    return ltx_key(TENANT, level, first, last)


@pytest.fixture
def history(tmp_path: Path) -> History:
    """One with 150 transactions, two merged files, and a snapshot of the 100th."""
    tree, _ = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    history.write_some(150)
    compact(tree, tmp_path / "spool", 1)
    rebuilt = rebuild(tree, tmp_path / "database", txid=100)
    put_snapshot(tree, tmp_path / "database", rebuilt, 1, tmp_path / "spool")
    return history


@pytest.fixture
def objects(history: History) -> MemoryStore:
    store = history.tree.store
    assert isinstance(store, MemoryStore)
    return store


def test_from_either_store(store: ObjectStore, tmp_path: Path) -> None:
    history = History(tree_of(store, tmp_path / "spool"))
    history.write_some(70)
    history.fence()
    history.write({9: content(9)})
    assert compact(history.tree, tmp_path / "spool", 1) == 1

    rebuilt = rebuild(history.tree, tmp_path / "database")

    assert (72, 9, 512, history.checksum) == (rebuilt.txid, rebuilt.pages, rebuilt.page_bytes, rebuilt.checksum)
    assert history.times[72] == rebuilt.timestamp_ms
    assert history.states[72] == (tmp_path / "database").read_bytes()
    assert (tmp_path / "database").stat().st_mode & 0o777 == 0o600
    for txid in (1, 40, 64, 71):
        assert txid == rebuild(history.tree, tmp_path / "database", txid=txid).txid
        assert history.states[txid] == (tmp_path / "database").read_bytes()


def test_sealed(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    tree = Trees(store, b"m" * 32, tmp_path / "spool").of(TENANT)
    history = History(tree, page_size=65536)
    page = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(2048))
    history.write({number: bytes([number]) * 8 + page[8:] for number in range(1, 41)})  # more than is fetched whole
    for number in range(1, 65):
        history.write({number % 40 + 1: content(number, 65536)})
    assert compact(tree, tmp_path / "spool", 1) == 1
    put_snapshot(tree, tmp_path / "database", rebuild(tree, tmp_path / "database", txid=30), 1, tmp_path / "spool")

    for at_txid in (1, 30, 50, 64, 65):
        assert rebuild(tree, tmp_path / "database", at_ms=history.times[at_txid]).txid == at_txid
        assert history.states[at_txid] == (tmp_path / "database").read_bytes()
    for name in (key(0, 1, 1), key(0, 65, 65)):
        stored, body = store.read(name, bytes_max=2**24)
        store.replace(name, body[:-100] + bytes(100), tag=stored.tag, metadata=stored.metadata)
    with pytest.raises(BrokenHistory, match=r"0001\.ltx is not what was put there"):
        rebuild(tree, tmp_path / "database", txid=1)
    with pytest.raises(BrokenHistory, match=r"0041\.ltx is not what was put there"):
        rebuild(tree, tmp_path / "database")
    assert rebuild(tree, tmp_path / "database", txid=64).avoided == ()


def test_at_a_moment(history: History, tmp_path: Path) -> None:
    for txid in (1, 64, 65, 99, 100, 101, 149):
        for later_ms in (0, 999):
            rebuilt = rebuild(history.tree, tmp_path / "database", at_ms=history.times[txid] + later_ms)

            assert (txid, history.times[txid], ()) == (rebuilt.txid, rebuilt.timestamp_ms, rebuilt.avoided)
            assert history.states[txid] == (tmp_path / "database").read_bytes()
    assert rebuild(history.tree, tmp_path / "database", at_ms=history.times[150] + 10**9).txid == 150


def test_nothing_is_that_old(history: History, tmp_path: Path) -> None:
    with pytest.raises(NothingToRestore) as raised:
        rebuild(history.tree, tmp_path / "database", at_ms=history.times[1] - 1)
    assert history.times[1] == raised.value.earliest_ms
    with pytest.raises(NothingToRestore):
        rebuild(history.tree, tmp_path / "database", txid=0)
    with pytest.raises(BrokenHistory, match="151 is missing"):
        rebuild(history.tree, tmp_path / "database", txid=151)
    assert not (tmp_path / "database").exists()


def test_nothing_was_stored(tmp_path: Path) -> None:
    tree, _ = tree_in_memory(tmp_path / "spool")

    for which in ({}, {"at_ms": 10**13}, {"txid": 3}):
        with pytest.raises(NothingToRestore) as raised:
            rebuild(tree, tmp_path / "database", **which)
        assert raised.value.earliest_ms is None


@settings(deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(1, 10), st.dictionaries(st.integers(1, 10), st.integers(0, 99), max_size=4), st.integers(0, 9)),
        min_size=1,
        max_size=20,
    )
)
def test_any_history(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, dict[int, int], int]]) -> None:
    """The database grows, shrinks, is fenced, and is written whole in between."""
    folder = tmp_path_factory.mktemp("history")
    tree, _ = tree_in_memory(folder / "spool")
    history = History(tree)
    for commit, changes, kind in steps:
        if kind == 0 and history.txid:
            history.fence()
        else:
            pages = {number: content(seed) for number, seed in changes.items()}
            history.write({1: content(history.txid), **pages}, commit=commit, whole=kind == 1)

    for txid, state in history.states.items():
        rebuild(tree, folder / "database", txid=txid)
        assert state == (folder / "database").read_bytes()


Damage = Callable[[MemoryStore, str], Any]


def flip(store: MemoryStore, name: str) -> None:
    found = store.objects[name]
    found.body = found.body[:120] + bytes([found.body[120] ^ 4]) + found.body[121:]


def truncate(store: MemoryStore, name: str) -> None:
    store.objects[name].body = store.objects[name].body[:-9]


def empty(store: MemoryStore, name: str) -> None:
    store.objects[name].body = b""


def remove(store: MemoryStore, name: str) -> None:
    del store.objects[name]


def lose_metadata(store: MemoryStore, name: str) -> None:
    store.objects[name].metadata = {}


def exchange_metadata(store: MemoryStore, name: str) -> None:
    metadata = store.objects[name].metadata
    metadata["engram-checksum"] = store.objects[key(0, 1, 1)].metadata["engram-checksum"]


def put_another(store: MemoryStore, name: str) -> None:
    """With its own metadata: a file of this tenant's, but not of these transactions."""
    store.objects[name].body = store.objects[key(0, 1, 1)].body
    store.objects[name].metadata = store.objects[key(0, 1, 1)].metadata


DAMAGE = [flip, truncate, empty, remove, lose_metadata, exchange_metadata, put_another]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", [key(1, 1, 64), key(9, 1, 100), key(1, 65, 128)])
def test_damage_is_gone_around(history: History, objects: MemoryStore, tmp_path: Path, damage: Damage, name: str) -> None:
    """What is in a merged file, or in a snapshot, is in those of level 0."""
    damage(objects, name)

    for txid in (64, 100, 128, 150):
        rebuilt = rebuild(history.tree, tmp_path / "database", txid=txid)
        assert history.states[txid] == (tmp_path / "database").read_bytes()
        assert txid == rebuilt.txid
        if rebuilt.avoided:
            assert [name.rpartition("/ltx/")[2]] == [each.split()[0] for each in rebuilt.avoided]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_that_can_not_be_gone_around_is_told(
    history: History, objects: MemoryStore, tmp_path: Path, damage: Damage
) -> None:
    damage(objects, key(0, 130, 130))

    with pytest.raises(BrokenHistory) as raised:
        rebuild(history.tree, tmp_path / "database")

    assert "130" in str(raised.value) or f"{130:016x}" in str(raised.value)
    assert not (tmp_path / "database").exists()
    rebuild(history.tree, tmp_path / "database", txid=129)
    assert history.states[129] == (tmp_path / "database").read_bytes()


def test_two_files_that_changed_places_are_found(history: History, objects: MemoryStore, tmp_path: Path) -> None:
    one, other = key(0, 130, 130), key(0, 131, 131)
    objects.objects[one], objects.objects[other] = objects.objects[other], objects.objects[one]

    with pytest.raises(BrokenHistory, match="holds other transactions"):
        rebuild(history.tree, tmp_path / "database")


def test_a_file_of_another_history_is_found(history: History, objects: MemoryStore, tmp_path: Path) -> None:
    """Whole in itself, with its own metadata, and the same number: what follows says that it followed on another."""
    other_tree, other_objects = tree_in_memory(tmp_path / "spool")
    other = History(other_tree)
    other.write({7: content(12345)})
    other.write_some(140)
    objects.objects[key(0, 141, 141)] = other_objects.objects[key(0, 141, 141)]

    with pytest.raises(BrokenHistory, match=r"does not continue|is not the one"):
        rebuild(history.tree, tmp_path / "database")
    with pytest.raises(BrokenHistory, match=r"does not continue|is not the one"):
        rebuild(history.tree, tmp_path / "database", txid=141)


def test_the_whole_database_must_be_the_one_that_the_engine_had(tmp_path: Path) -> None:
    """A file that lacks a page which had changed is whole in itself: only the database's checksum tells."""
    tree, _ = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    history.write_some(3)
    header = Header(
        page_size=512, commit=7, min_txid=4, max_txid=4, timestamp_ms=history.at_ms + 1, node_id=history.checksum ^ 1
    )
    body = ltx(header, {1: content(4)})
    info = FileInfo(
        timestamp_ms=header.timestamp_ms,
        batch=hashlib.sha256(body).hexdigest(),
        previous=history.previous,
        epoch=1,
        checksum=header.node_id,
        pages=7,
        whole=False,
    )
    tree.put(0, 4, 4, body, info)

    with pytest.raises(BrokenHistory, match=r"is not the one that 0000/0{15}4-0{15}4\.ltx leads to"):
        rebuild(tree, tmp_path / "database")

    body = ltx(replace(header, commit=9), {1: content(4)})
    tree.store.delete([key(0, 4, 4)])
    tree.put(0, 4, 4, body, replace(info, pages=9, batch=hashlib.sha256(body).hexdigest()))
    with pytest.raises(BrokenHistory, match="some pages"):
        rebuild(tree, tmp_path / "database")


def test_an_attempt_that_was_broken_off_is_forgotten(history: History, tmp_path: Path) -> None:
    (tmp_path / "database").write_bytes(b"half" * 10_000)

    rebuild(history.tree, tmp_path / "database")

    assert history.states[150] == (tmp_path / "database").read_bytes()


def test_files_that_are_removed_while_they_are_read(history: History, objects: MemoryStore, tmp_path: Path) -> None:
    """Retention may take what was listed; then something newer takes its place."""
    removed: list[str] = []

    def carry(kind: str, carry_out: Callable[[], Any]) -> Any:
        if kind == "get" and not removed:
            removed.extend(name for name in objects.objects if "/ltx/0009/" in name or name.endswith(f"{101:016x}.ltx"))
            rebuilt = rebuild(history.tree, tmp_path / "beside", txid=120)
            put_snapshot(history.tree, tmp_path / "beside", rebuilt, 1, tmp_path / "spool")
            objects.delete(removed)
        return carry_out()

    wired = tree_of(Wire(objects, carry), tmp_path / "spool")

    rebuilt = rebuild(wired, tmp_path / "database")

    assert removed
    assert (rebuilt.avoided, rebuilt.txid) == ((), 150)
    assert history.states[150] == (tmp_path / "database").read_bytes()


def test_a_store_that_fails_is_no_broken_history(history: History, objects: MemoryStore, tmp_path: Path) -> None:
    gets = 0

    def carry(kind: str, carry_out: Callable[[], Any]) -> Any:
        nonlocal gets
        gets += kind == "get"
        if gets > 20:
            raise StoreUnavailable("gone away")
        return carry_out()

    with pytest.raises(StoreUnavailable):
        rebuild(tree_of(Wire(objects, carry), tmp_path / "spool"), tmp_path / "database", txid=99)

    assert not (tmp_path / "database").exists()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bit_goes_wrong_unnoticed(history: History, objects: MemoryStore, tmp_path: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(objects.objects)))
    body = objects.objects[name].body
    bit = data.draw(st.integers(0, len(body) * 8 - 1))
    objects.objects[name].body = body[: bit // 8] + bytes([body[bit // 8] ^ 1 << bit % 8]) + body[bit // 8 + 1 :]
    txid = data.draw(st.integers(1, 150))

    try:
        rebuild(history.tree, tmp_path / "database", txid=txid)
    except BrokenHistory:
        assert not (tmp_path / "database").exists()
    else:
        assert history.states[txid] == (tmp_path / "database").read_bytes()
    finally:
        objects.objects[name].body = body


def test_a_large_file_is_streamed(tmp_path: Path) -> None:
    """One that is read ahead by a thread: whole, damaged, and broken off by who reads it."""
    tree, objects = tree_in_memory(tmp_path / "spool")
    history = History(tree, page_size=65536)
    page = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(2048))
    history.write({number: bytes([number]) * 8 + page[8:] for number in range(1, 41)})
    history.write({3: page})
    assert len(objects.objects[key(0, 1, 1)].body) > 2 * 2**20

    rebuild(tree, tmp_path / "database")

    assert history.states[2] == (tmp_path / "database").read_bytes()
    assert history.at_ms == BEGINNING_MS + 2000
    flip(objects, key(0, 1, 1))
    with pytest.raises(BrokenHistory, match=r"0001\.ltx"):
        rebuild(tree, tmp_path / "database")
