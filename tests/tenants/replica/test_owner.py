"""Who owns a tenant: one node at a time, changed only when the other has ended."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from tenants.replica.layout import owner_key, tombstone_key
from tenants.replica.objects import ObjectStore, StoreRefused, StoreUnavailable
from tenants.replica.ownership.lease import NodeLease
from tenants.replica.ownership.owner import Erased, Moved, Owner, confirm, raise_epoch, read_owner, take
from tests.tenants.replica.memory_store import MemoryStore, Wire

TENANT = "db_" + "a" * 20


class Nodes:
    def __init__(self) -> None:
        self.now = 1_000.0
        self.store = MemoryStore(clock=lambda: self.now)

    def lease(self, node: str, store: Any = None) -> NodeLease:
        lease = NodeLease(store or self.store, node, monotonic=lambda: self.now)
        lease.acquire()
        return lease


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


def test_the_first_who_asks_has_it_until_its_lease_ends(nodes: Nodes) -> None:
    first, second = nodes.lease("a"), nodes.lease("b")

    assert take(nodes.store, TENANT, first) == Owner(node="a", epoch=1)
    with pytest.raises(Moved) as moved:
        take(nodes.store, TENANT, second)
    assert moved.value.node == "a"
    nodes.now += 35
    second.acquire()
    with pytest.raises(Moved):
        take(nodes.store, TENANT, second)
    nodes.now += 10
    second.acquire()
    assert take(nodes.store, TENANT, second) == Owner(node="b", epoch=2)
    first.acquire()
    with pytest.raises(Moved):
        take(nodes.store, TENANT, first)


def test_a_released_lease_is_no_obstacle(nodes: Nodes) -> None:
    first, second = nodes.lease("a"), nodes.lease("b")
    take(nodes.store, TENANT, first)
    first.release()

    assert take(nodes.store, TENANT, second) == Owner(node="b", epoch=2)


def test_an_answer_that_was_lost_is_found_at_the_next_try(nodes: Nodes) -> None:
    def losing(kind: str, request: Callable[[], Any]) -> Any:
        answer = request()
        if kind == "put" and owner_key(TENANT) in nodes.store.objects:
            raise StoreUnavailable
        return answer

    lease = nodes.lease("a")
    with pytest.raises(StoreUnavailable):
        take(Wire(nodes.store, losing), TENANT, lease)

    assert take(nodes.store, TENANT, lease).node == "a"


def test_of_the_owner_that_comes_back_and_the_one_who_found_it_gone_one_has_it(nodes: Nodes) -> None:
    owner, other = nodes.lease("a"), nodes.lease("b")
    take(nodes.store, TENANT, owner)
    nodes.now += 60
    other.acquire()

    def overtaken(kind: str, request: Callable[[], Any]) -> Any:
        """Before the other's change of owner arrives, the owner has its lease again, and asks."""
        if kind == "put" and not owner.left_s:
            owner.acquire()
            take(nodes.store, TENANT, owner)
        return request()

    with pytest.raises(Moved):
        take(Wire(nodes.store, overtaken), TENANT, other)
    found = read_owner(nodes.store, TENANT)
    assert found is not None
    assert found[0].node == "a"


def test_nothing_is_made_for_an_erased_tenant(nodes: Nodes) -> None:
    lease = nodes.lease("a")
    nodes.store.create(tombstone_key(TENANT), b"{}")

    with pytest.raises(Erased):
        take(nodes.store, TENANT, lease)
    assert owner_key(TENANT) not in nodes.store.objects


def test_who_looks_again_sees_what_has_changed(nodes: Nodes) -> None:
    lease = nodes.lease("a")
    owner = take(nodes.store, TENANT, lease)

    confirm(nodes.store, TENANT, lease, owner)
    nodes.now += 60
    with pytest.raises(StoreUnavailable):
        confirm(nodes.store, TENANT, lease, owner)
    taken = take(nodes.store, TENANT, nodes.lease("b"))
    with pytest.raises(Moved):
        confirm(nodes.store, TENANT, lease, owner)
    with pytest.raises(Moved):
        raise_epoch(nodes.store, TENANT, owner, 9)
    assert raise_epoch(nodes.store, TENANT, taken, 9) == Owner(node="b", epoch=9)
    nodes.store.create(tombstone_key(TENANT), b"{}")
    with pytest.raises(Erased):
        confirm(nodes.store, TENANT, lease, owner)


def test_what_names_no_owner_is_refused(nodes: Nodes) -> None:
    nodes.store.replace(owner_key(TENANT), b'{"node": 3}', tag=None)

    with pytest.raises(StoreRefused):
        take(nodes.store, TENANT, nodes.lease("a"))


def test_of_many_who_want_it_at_once_one_has_it(store: ObjectStore) -> None:
    """With a real store: create-only, then compare-and-swap from an owner that has ended."""
    leases = [NodeLease(store, f"node-{number}") for number in range(4)]
    for lease in leases:
        lease.acquire()
    gone = msgspec.json.encode(Owner(node="gone", epoch=1))

    def asked(lease: NodeLease, tenant: str) -> str | None:
        try:
            return take(store, tenant, lease).node
        except Moved:
            return None

    with ThreadPoolExecutor(len(leases)) as threads:
        for race in range(200 if store.kind == "directory" else 20):
            tenant = f"db_{race:020d}"
            if race % 2:
                store.create(owner_key(tenant), gone)
            answers = [threads.submit(asked, lease, tenant) for lease in leases]
            winners = [node for answer in answers if (node := answer.result())]

            found = read_owner(store, tenant)
            assert found is not None
            assert winners == [found[0].node]
            assert found[0].epoch == 1 + race % 2
