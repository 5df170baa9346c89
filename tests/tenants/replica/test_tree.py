"""A tenant's files in the store: created once, found again after a lost answer, listed in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tenants.replica.layout import INCREMENTS, SNAPSHOTS, level_prefix, ltx_key
from tenants.replica.objects import ObjectExists, ObjectMissing, ObjectStore, StoreUnavailable
from tenants.replica.stores import open_store
from tenants.replica.tree import FileInfo, NotOurs, Tree, digest_of
from tenants.replica.trees import Trees
from tests.tenants.replica.fault_proxy import Fault, FaultProxy
from tests.tenants.replica.s3_server import CREDENTIALS

TENANT = "db_" + "a" * 20
MASTER = b"m" * 32


def info(body: bytes, *, timestamp_ms: int = 1_785_578_400_007, previous: str = "") -> FileInfo:
    return FileInfo(
        timestamp_ms=timestamp_ms,
        batch=digest_of([body]),
        previous=previous,
        epoch=3,
        checksum=0xFEDC_BA98_7654_3210,
        pages=12,
        whole=False,
    )


@pytest.fixture(params=[None, MASTER], ids=["plain", "sealed"])
def tree(request: pytest.FixtureRequest, store: ObjectStore, tmp_path: Path) -> Tree:
    return Trees(store, request.param, tmp_path).of(TENANT)


@pytest.fixture(params=[None, MASTER], ids=["plain", "sealed"])
def proxied_tree(request: pytest.FixtureRequest, proxied_url: str, tmp_path: Path) -> Iterator[Tree]:
    store = open_store(proxied_url, CREDENTIALS)
    yield Trees(store, request.param, tmp_path).of(TENANT, make_keys=True)
    store.close()


def test_a_file_comes_back_with_what_is_known_of_it(tree: Tree) -> None:
    known = info(b"content", previous="0" * 64)

    tree.put(INCREMENTS, 1, 1, b"content", known)

    assert tree.info(INCREMENTS, 1, 1) == known
    with tree.open(INCREMENTS, 1, 1) as (found, pieces):
        assert (found, b"".join(pieces)) == (known, b"content")


def test_a_file_is_put_from_the_disk(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")

    tree.put(INCREMENTS, 1, 1, tmp_path / "file", info(b"content"))

    with tree.open(INCREMENTS, 1, 1) as (_, pieces):
        assert b"".join(pieces) == b"content"


def test_what_is_missing(tree: Tree) -> None:
    assert tree.info(INCREMENTS, 1, 1) is None
    with pytest.raises(ObjectMissing), tree.open(INCREMENTS, 1, 1):
        pass


def test_litestream_reads_the_time_of_a_plain_file(store: ObjectStore, tmp_path: Path) -> None:
    Trees(store, None, tmp_path).of(TENANT).put(INCREMENTS, 1, 1, b"content", info(b"content"))

    found = store.head(ltx_key(TENANT, INCREMENTS, 1, 1))

    assert found is not None
    assert found.metadata["litestream-timestamp"] == "2026-08-01T10:00:00.007Z"


def test_ones_own_is_found_and_anothers_is_not_overwritten(tree: Tree) -> None:
    tree.put(INCREMENTS, 1, 1, b"mine", info(b"mine"))

    tree.put_or_find(INCREMENTS, 1, 1, b"mine", info(b"mine"))

    with pytest.raises(ObjectExists):
        tree.put_or_find(INCREMENTS, 1, 1, b"another's", info(b"another's"))
    assert tree.info(INCREMENTS, 1, 1) == info(b"mine")


def test_a_lost_answer_is_found_out(proxied_tree: Tree, proxy: FaultProxy) -> None:
    rule = proxy.plan(Fault.LOST, method="PUT")

    proxied_tree.put_or_find(INCREMENTS, 1, 1, b"mine", info(b"mine"))

    assert rule.spoiled == 1
    assert proxied_tree.info(INCREMENTS, 1, 1) == info(b"mine")


def test_all_answers_lost_is_found_out_later(proxied_tree: Tree, proxy: FaultProxy) -> None:
    proxy.plan(Fault.LOST, method="PUT", times=2)
    with pytest.raises(StoreUnavailable):
        proxied_tree.put_or_find(INCREMENTS, 1, 1, b"mine", info(b"mine"))

    proxied_tree.put_or_find(INCREMENTS, 1, 1, b"mine", info(b"mine"))


def test_files_are_listed_in_order(tree: Tree) -> None:
    for txid in (1, 2, 3, 0x10, 0x100, 0xFFFF_FFFF_FFFF):
        tree.put(INCREMENTS, txid, txid, b"content", info(b"content"))
    tree.put(1, 1, 2, b"content", info(b"content"))

    assert [entry.min_txid for entry in tree.entries(INCREMENTS)] == [1, 2, 3, 0x10, 0x100, 0xFFFF_FFFF_FFFF]
    assert [entry.min_txid for entry in tree.entries(INCREMENTS, after_txid=3)] == [0x10, 0x100, 0xFFFF_FFFF_FFFF]
    assert [entry.min_txid for entry in tree.entries(INCREMENTS, after_txid=4)] == [0x10, 0x100, 0xFFFF_FFFF_FFFF]
    assert [(entry.min_txid, entry.max_txid, entry.level) for entry in tree.entries(1)] == [(1, 2, 1)]


def test_snapshots_are_listed_by_what_they_reach(tree: Tree) -> None:
    for txid in (0x20, 0x3, 0x1000):
        tree.put(SNAPSHOTS, 1, txid, b"content", info(b"content"))

    assert [(entry.min_txid, entry.max_txid) for entry in tree.entries(SNAPSHOTS)] == [(1, 3), (1, 0x20), (1, 0x1000)]


def test_strange_names_are_left_out(tree: Tree) -> None:
    tree.put(INCREMENTS, 2, 2, b"content", info(b"content"))
    for name in ("0", "readme.txt", f"{3:016x}-{2:016x}.ltx", f"{2:016X}-{0xA:016X}.ltx"):
        tree.store.create(level_prefix(TENANT, INCREMENTS) + name, b"")

    assert [entry.max_txid for entry in tree.entries(INCREMENTS)] == [2]


def test_deleted_files_are_gone(tree: Tree) -> None:
    for txid in (1, 2, 3):
        tree.put(INCREMENTS, txid, txid, b"content", info(b"content"))

    tree.delete([entry for entry in tree.entries(INCREMENTS) if entry.max_txid < 3])

    assert [entry.max_txid for entry in tree.entries(INCREMENTS)] == [3]


@pytest.mark.parametrize("metadata", [{}, {"engram-timestamp": "x"}, info(b"").to_metadata() | {"engram-epoch": "-"}])
def test_an_object_that_is_not_ours(store: ObjectStore, tmp_path: Path, metadata: dict[str, str]) -> None:
    store.create(ltx_key(TENANT, INCREMENTS, 1, 1), b"content", metadata)

    with pytest.raises(NotOurs):
        Trees(store, None, tmp_path).of(TENANT).info(INCREMENTS, 1, 1)
