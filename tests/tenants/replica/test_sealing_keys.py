"""A tenant's keys in the store: made once, rotated, wrapped anew, destroyed; and what is told to who has not the right one."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tenants.replica.layout import INCREMENTS, SNAPSHOTS, keys_key, ltx_key
from tenants.replica.objects import ObjectChanged, ObjectExists, ObjectStore, StoreUnavailable
from tenants.replica.sealing import KeysDestroyed, KeyUnavailable, Master, Tampered, TenantSealing
from tenants.replica.sealing.sealed_metadata import KEY_ID
from tenants.replica.stores import open_store
from tenants.replica.tree import FileInfo, Tree, digest_of
from tenants.replica.trees import Trees
from tests.tenants.replica.fault_proxy import Fault, FaultProxy
from tests.tenants.replica.s3_server import CREDENTIALS

MASTER, OTHER_MASTER = b"m" * 32, b"o" * 32
TENANT, OTHER = "db_" + "a" * 20, "db_" + "b" * 20
MEMORY = b"a memory that nobody else should read"


def info(body: bytes) -> FileInfo:
    return FileInfo(
        timestamp_ms=1_785_578_400_500, batch=digest_of([body]), previous="", epoch=1, checksum=1 << 63, pages=1, whole=True
    )


def put(tree: Tree, txid: int, body: bytes = MEMORY, *, level: int = INCREMENTS) -> None:
    tree.put(level, txid, txid, body, info(body))


def get(tree: Tree, txid: int, *, level: int = INCREMENTS) -> bytes:
    with tree.open(level, txid, txid) as (found, pieces):
        body = b"".join(pieces)
    assert found == info(body)
    assert tree.info(level, txid, txid) == found
    return body


def stored(store: ObjectStore, txid: int) -> tuple[dict[str, str], bytes]:
    found, body = store.read(ltx_key(TENANT, INCREMENTS, txid, txid), bytes_max=2**20)
    return dict(found.metadata), body


def key_file(store: ObjectStore) -> dict[str, object]:
    content: dict[str, object] = json.loads(store.read(keys_key(TENANT), bytes_max=2**20)[1])
    return content


@pytest.fixture
def trees(store: ObjectStore, tmp_path: Path) -> Trees:
    return Trees(store, MASTER, tmp_path)


def test_what_is_stored_shows_nothing(store: ObjectStore, trees: Trees) -> None:
    put(trees.of(TENANT), 1)

    metadata, body = stored(store, 1)

    assert MEMORY[:16] not in body
    assert info(MEMORY).batch not in str(metadata)
    assert metadata.keys() == {"engram-key", "engram-sealed"}
    assert get(trees.of(TENANT), 1) == MEMORY


def test_the_bucket_and_the_master_key_are_enough(store: ObjectStore, trees: Trees, tmp_path: Path) -> None:
    put(trees.of(TENANT), 1)

    assert get(Trees(store, MASTER, tmp_path).of(TENANT), 1) == MEMORY


def test_without_a_master_key_objects_are_plain(store: ObjectStore, tmp_path: Path) -> None:
    trees = Trees(store, None, tmp_path)
    put(trees.of(TENANT, make_keys=True), 1)

    assert stored(store, 1)[1] == MEMORY
    assert store.head(keys_key(TENANT)) is None
    assert (trees.encrypted, trees.control_sealing()) == (False, None)


def test_keys_are_made_with_the_first_object(store: ObjectStore, trees: Trees) -> None:
    tree = trees.of(TENANT)
    assert list(tree.entries(INCREMENTS)) == []
    assert store.head(keys_key(TENANT)) is None

    put(tree, 1)

    assert key_file(store)["sealed_from"] == 1
    assert MASTER not in store.read(keys_key(TENANT), bytes_max=2**20)[1]


def test_keys_are_made_when_asked_for(store: ObjectStore, trees: Trees) -> None:
    trees.of(TENANT, make_keys=True)

    assert store.head(keys_key(TENANT)) is not None


def test_a_tenant_has_one_tree(trees: Trees) -> None:
    assert trees.of(TENANT) is trees.of(TENANT)
    assert trees.of(TENANT) is not trees.of(OTHER)


def test_what_was_plain_before_stays_readable(store: ObjectStore, trees: Trees, tmp_path: Path) -> None:
    before = Trees(store, None, tmp_path).of(TENANT)
    for txid in (1, 2):
        put(before, txid)
    put(before, 2, level=SNAPSHOTS)

    tree = trees.of(TENANT)
    assert get(tree, 2) == MEMORY  # while there are no keys yet
    put(tree, 3)

    assert key_file(store)["sealed_from"] == 3
    assert [get(tree, txid) for txid in (1, 2, 3)] == [MEMORY] * 3
    assert get(tree, 2, level=SNAPSHOTS) == MEMORY
    assert get(Trees(store, MASTER, tmp_path).of(TENANT), 1) == MEMORY


def test_a_plain_object_among_sealed_ones_is_none_of_ours(store: ObjectStore, trees: Trees) -> None:
    put(trees.of(TENANT), 1)
    forged = b"forged"
    store.create(ltx_key(TENANT, INCREMENTS, 2, 2), forged, info(forged).to_metadata())

    with pytest.raises(Tampered):
        trees.of(TENANT).info(INCREMENTS, 2, 2)
    with pytest.raises(Tampered), trees.of(TENANT).open(INCREMENTS, 2, 2):
        pass


def test_from_when_on_objects_are_sealed_cannot_be_changed(store: ObjectStore, trees: Trees, tmp_path: Path) -> None:
    put(trees.of(TENANT), 1)
    store.replace(keys_key(TENANT), json.dumps(key_file(store) | {"sealed_from": 9}).encode(), tag=None)
    store.create(ltx_key(TENANT, INCREMENTS, 2, 2), b"forged", info(b"forged").to_metadata())

    tree = Trees(store, MASTER, tmp_path).of(TENANT)

    for txid in (1, 2):
        with pytest.raises(Tampered):
            tree.info(INCREMENTS, txid, txid)


def test_nor_while_the_keys_are_in_memory(store: ObjectStore, trees: Trees, tmp_path: Path) -> None:
    """Somebody who writes to the bucket has the keys asked for anew, by an object with a key that nobody knows."""
    tree = trees.of(TENANT)
    put(tree, 1)
    genuine = json.dumps(key_file(store)).encode()
    metadata, body = stored(store, 1)
    store.create(ltx_key(TENANT, INCREMENTS, 2, 2), body, metadata | {KEY_ID: "0123456789abcdef"})
    store.create(ltx_key(TENANT, INCREMENTS, 3, 3), b"forged", info(b"forged").to_metadata())
    store.replace(keys_key(TENANT), json.dumps(key_file(store) | {"sealed_from": 9}).encode(), tag=None)

    for txid in (2, 3):
        with pytest.raises(Tampered):
            tree.info(INCREMENTS, txid, txid)
    assert get(tree, 1) == MEMORY

    forged_key = json.loads(genuine)["keys"][0] | {"id": "0123456789abcdef"}
    forged_file = json.loads(genuine) | {"sealed_from": 9, "keys": [*json.loads(genuine)["keys"], forged_key]}
    store.replace(keys_key(TENANT), json.dumps(forged_file).encode(), tag=None)
    for txid in (2, 3):
        with pytest.raises(Tampered):
            tree.info(INCREMENTS, txid, txid)

    store.replace(keys_key(TENANT), genuine, tag=None)
    put(tree, 4)
    assert get(Trees(store, MASTER, tmp_path).of(TENANT), 4) == MEMORY


def test_objects_cannot_change_places(store: ObjectStore, trees: Trees) -> None:
    tree = trees.of(TENANT)
    put(tree, 1)
    put(trees.of(OTHER), 1)
    metadata, body = stored(store, 1)
    store.create(ltx_key(TENANT, INCREMENTS, 2, 2), body, metadata)
    store.create(ltx_key(OTHER, INCREMENTS, 2, 2), body, metadata)

    for spoiled in (tree, trees.of(OTHER)):
        with pytest.raises(Tampered):
            spoiled.info(INCREMENTS, 2, 2)
    with pytest.raises(Tampered):
        list(TenantSealing(store, TENANT, Master(MASTER)).unseal(ltx_key(TENANT, INCREMENTS, 2, 2), metadata, [body]))


def test_another_tenants_keys_are_not_taken(store: ObjectStore, trees: Trees, tmp_path: Path) -> None:
    for tenant in (TENANT, OTHER):
        put(trees.of(tenant), 1)
    others = store.read(keys_key(OTHER), bytes_max=2**20)[1]
    for content in (others, others.replace(OTHER.encode(), TENANT.encode()), b"{", b"\xff", b"[]", b"x" * 2**20):
        store.replace(keys_key(TENANT), content, tag=None)

        with pytest.raises(Tampered):
            put(Trees(store, MASTER, tmp_path).of(TENANT), 2)


def test_a_wrong_master_key_is_told(store: ObjectStore, trees: Trees, tmp_path: Path) -> None:
    put(trees.of(TENANT), 1)
    tree = Trees(store, OTHER_MASTER, tmp_path).of(TENANT)

    with pytest.raises(KeyUnavailable, match="set ENGRAM_MASTER_KEY"):
        tree.info(INCREMENTS, 1, 1)
    with pytest.raises(KeyUnavailable, match="set ENGRAM_MASTER_KEY"):
        put(tree, 2)
    assert store.head(ltx_key(TENANT, INCREMENTS, 2, 2)) is None


def test_no_master_key_where_one_was_is_told(store: ObjectStore, trees: Trees, tmp_path: Path) -> None:
    put(trees.of(TENANT), 1)

    with pytest.raises(KeyUnavailable, match="set ENGRAM_MASTER_KEY"):
        Trees(store, None, tmp_path).of(TENANT)


def test_keys_that_are_gone_are_told(store: ObjectStore, trees: Trees, tmp_path: Path) -> None:
    put(trees.of(TENANT), 1)
    store.delete([keys_key(TENANT)])

    with pytest.raises(KeyUnavailable, match="is gone"):
        Trees(store, MASTER, tmp_path).of(TENANT).info(INCREMENTS, 1, 1)


def test_a_new_key_seals_what_comes_and_the_old_opens_what_was(store: ObjectStore, trees: Trees, tmp_path: Path) -> None:
    tree = trees.of(TENANT)
    elsewhere = Trees(store, MASTER, tmp_path).of(TENANT)
    put(tree, 1)
    assert get(elsewhere, 1) == MEMORY

    trees.rotate_tenant_key(TENANT)
    put(tree, 2)

    assert stored(store, 1)[0]["engram-key"] != stored(store, 2)[0]["engram-key"] == key_file(store)["current"]
    for reader in (tree, elsewhere, Trees(store, MASTER, tmp_path).of(TENANT)):
        assert [get(reader, txid) for txid in (1, 2)] == [MEMORY, MEMORY]


def test_a_tenant_without_keys_may_be_given_a_new_one(store: ObjectStore, trees: Trees) -> None:
    trees.rotate_tenant_key(TENANT)
    put(trees.of(TENANT), 1)

    assert get(trees.of(TENANT), 1) == MEMORY


def test_there_is_nothing_to_rotate_without_a_master_key(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailable, match="set ENGRAM_MASTER_KEY"):
        Trees(store, None, tmp_path).rotate_tenant_key(TENANT)


def test_another_master_key_may_wrap_the_keys(store: ObjectStore, trees: Trees, tmp_path: Path) -> None:
    put(trees.of(TENANT), 1)
    trees.rotate_tenant_key(TENANT)
    put(trees.of(TENANT), 2)
    new = Trees(store, OTHER_MASTER, tmp_path)

    for _ in range(2):  # it is safe to repeat
        new.rewrap(TENANT, MASTER, OTHER_MASTER)

    assert [get(new.of(TENANT), txid) for txid in (1, 2)] == [MEMORY, MEMORY]
    with pytest.raises(KeyUnavailable):
        get(Trees(store, MASTER, tmp_path).of(TENANT), 1)
    with pytest.raises(KeyUnavailable):
        new.rewrap(TENANT, MASTER, b"third" * 8)
    new.rewrap(OTHER, MASTER, OTHER_MASTER)  # who has no keys has none to wrap
    assert store.head(keys_key(OTHER)) is None


def test_of_nodes_that_make_keys_at_once_one_wins(store: ObjectStore, tmp_path: Path) -> None:
    nodes = [Trees(store, MASTER, tmp_path).of(TENANT) for _ in range(8)]
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        put(nodes[number], number + 1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    keys = key_file(store)["keys"]
    assert isinstance(keys, list)
    assert len(keys) == 1
    for node in nodes:
        assert [get(node, txid) for txid in range(1, 9)] == [MEMORY] * 8


def test_nodes_may_rotate_at_once(store: ObjectStore, tmp_path: Path) -> None:
    nodes = [Trees(store, MASTER, tmp_path) for _ in range(4)]
    put(nodes[0].of(TENANT), 1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda node: node.rotate_tenant_key(TENANT), nodes))

    keys = key_file(store)["keys"]
    assert isinstance(keys, list)
    assert len(keys) == 5
    assert get(nodes[1].of(TENANT), 1) == MEMORY


def test_an_answer_that_was_lost_makes_no_second_key(proxy: FaultProxy, proxied_url: str, tmp_path: Path) -> None:
    store = open_store(proxied_url, CREDENTIALS)
    trees = Trees(store, MASTER, tmp_path)
    proxy.plan(Fault.LOST, method="PUT", containing="keys.json", times=2)
    with pytest.raises(StoreUnavailable):
        trees.of(TENANT, make_keys=True)
    put(trees.of(TENANT), 1)
    proxy.plan(Fault.LOST, method="PUT", containing="keys.json")
    trees.rotate_tenant_key(TENANT)

    keys = key_file(store)["keys"]

    assert isinstance(keys, list)
    assert len(keys) == 2
    assert get(trees.of(TENANT), 1) == MEMORY
    store.close()


def test_what_was_destroyed_is_gone_for_everybody(store: ObjectStore, trees: Trees, tmp_path: Path) -> None:
    tree = trees.of(TENANT)
    put(tree, 1)
    before = key_file(store)

    for _ in range(2):  # it is safe to repeat
        trees.destroy_keys(TENANT)

    after = key_file(store)
    assert (after["keys"], after["current"], after["sealed_from"]) == ([], "", before["sealed_from"])
    for node in (tree, Trees(store, MASTER, tmp_path).of(TENANT), Trees(store, None, tmp_path).of(TENANT)):
        with pytest.raises(KeysDestroyed):
            node.info(INCREMENTS, 1, 1)
        with pytest.raises(KeysDestroyed):
            put(node, 2)
        assert [entry.max_txid for entry in node.entries(INCREMENTS)] == [1]
    with pytest.raises(KeysDestroyed):
        trees.rotate_tenant_key(TENANT)


def test_a_tenant_without_keys_can_be_destroyed_too(store: ObjectStore, tmp_path: Path) -> None:
    """So that nobody who is still at it makes any afterwards."""
    plain = Trees(store, None, tmp_path)
    put(plain.of(TENANT), 1)

    plain.destroy_keys(TENANT)

    for trees in (plain, Trees(store, MASTER, tmp_path)):
        with pytest.raises(KeysDestroyed):
            put(trees.of(TENANT), 2)


def test_damaged_keys_can_be_destroyed(store: ObjectStore, trees: Trees) -> None:
    store.create(keys_key(TENANT), b"{")

    trees.destroy_keys(TENANT)

    assert key_file(store)["keys"] == []


def test_a_large_file_is_sealed_beside_the_memory(store: ObjectStore, trees: Trees, tmp_path: Path) -> None:
    body = MEMORY * (2**24 // len(MEMORY))
    path = tmp_path / "large"
    path.write_bytes(body)
    tree = trees.of(TENANT)

    tree.put(INCREMENTS, 1, 1, path, info(body))
    tree.put(INCREMENTS, 2, 2, body, info(body))

    assert [get(tree, txid) for txid in (1, 2)] == [body, body]
    assert [found for found in tmp_path.iterdir() if found.name.startswith("sealed-")] == []
    with pytest.raises(ObjectExists):
        tree.put(INCREMENTS, 1, 1, path, info(body))


def test_a_state_of_the_keys_is_not_overwritten(store: ObjectStore, trees: Trees) -> None:
    put(trees.of(TENANT), 1)
    tag = store.read(keys_key(TENANT), bytes_max=2**20)[0].tag
    trees.rotate_tenant_key(TENANT)

    with pytest.raises(ObjectChanged):
        store.replace(keys_key(TENANT), b"{}", tag=tag)
