"""A node's lease: how long it holds by its own clock, and when others may take that it has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tenants.replica.layout import node_key
from tenants.replica.objects import ObjectStore, StoreRefused, StoreUnavailable
from tenants.replica.ownership.lease import CLOCK_ALLOWANCE_S, TTL_S, LeaseLost, NodeLease, read_lease
from tests.tenants.replica.memory_store import MemoryStore, Wire


class Clocks:
    """The true time, which is the store's; a node's differ from it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.store = MemoryStore(clock=lambda: self.now)

    def lease(self, node: str, *, skew_s: float = 0.0, store: Any = None) -> NodeLease:
        return NodeLease(store or self.store, node, wall=lambda: self.now + skew_s, monotonic=lambda: self.now - 77.0)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def test_it_holds_for_its_time_and_as_long_as_it_is_renewed(clocks: Clocks) -> None:
    lease = clocks.lease("a")

    assert lease.left_s == 0
    lease.acquire()
    assert lease.left_s == TTL_S
    clocks.now += 20
    lease.renew()
    clocks.now += 20
    assert lease.left_s == TTL_S - 20
    clocks.now += 20
    assert lease.left_s == 0


def test_it_is_counted_from_before_the_request_was_sent(clocks: Clocks) -> None:
    def slowly(_: str, request: Callable[[], Any]) -> Any:
        clocks.now += 4
        answer = request()
        clocks.now += 4
        return answer

    lease = clocks.lease("a", store=Wire(clocks.store, slowly))
    lease.acquire()

    assert lease.left_s == TTL_S - 8


def test_a_renewal_that_comes_too_late_is_a_gap(clocks: Clocks) -> None:
    lease = clocks.lease("a")
    lease.acquire()
    clocks.now += TTL_S + 1

    with pytest.raises(LeaseLost):
        lease.renew()
    assert lease.left_s == 0
    lease.renew()
    assert lease.left_s == TTL_S


def test_an_answer_that_was_lost_does_no_harm(clocks: Clocks) -> None:
    lost: list[bool] = []

    def losing(kind: str, request: Callable[[], Any]) -> Any:
        answer = request()
        if lost and kind == "put":
            lost.pop()
            raise StoreUnavailable
        return answer

    lease = clocks.lease("a", store=Wire(clocks.store, losing))
    lease.acquire()
    clocks.now += 10
    lost.append(True)
    with pytest.raises(StoreUnavailable):
        lease.renew()
    assert lease.left_s == TTL_S - 10
    lease.renew()

    assert lease.left_s == TTL_S


def test_a_second_process_of_the_node_takes_it_over_and_the_first_learns_of_it(clocks: Clocks) -> None:
    first, second = clocks.lease("a"), clocks.lease("a")
    first.acquire()
    second.acquire()

    with pytest.raises(LeaseLost):
        first.renew()
    assert first.left_s == 0
    second.renew()


@pytest.mark.parametrize("skew_s", [0.0, 10_800.0, -10_800.0])
def test_it_has_ended_by_the_stores_clock_whatever_the_nodes_clocks_say(clocks: Clocks, skew_s: float) -> None:
    theirs, ours = clocks.lease("a", skew_s=skew_s), clocks.lease("b", skew_s=-skew_s)
    theirs.acquire()
    ours.acquire()

    clocks.now += TTL_S + CLOCK_ALLOWANCE_S - 1
    ours.acquire()
    assert not ours.has_ended("a")
    clocks.now += 2
    assert ours.has_ended("a")
    assert not ours.has_ended("b")


def test_an_answer_that_comes_late_is_not_taken_for_an_old_lease(clocks: Clocks) -> None:
    delays_s = [0.0, 100.0]

    def stalling(kind: str, request: Callable[[], Any]) -> Any:
        answer = request()
        clocks.now += delays_s.pop(0) if kind == "list" else 0.0
        return answer

    theirs, ours = clocks.lease("a"), clocks.lease("b", store=Wire(clocks.store, stalling))
    theirs.acquire()
    ours.acquire()

    assert not ours.has_ended("a")
    assert not delays_s


def test_what_was_released_or_never_was_has_ended(clocks: Clocks) -> None:
    theirs, ours = clocks.lease("a"), clocks.lease("b")
    ours.acquire()

    assert ours.has_ended("a")
    theirs.acquire()
    assert not ours.has_ended("a")
    theirs.release()
    assert theirs.left_s == 0
    assert ours.has_ended("a")


def test_a_successor_ends_its_predecessors_lease(clocks: Clocks) -> None:
    before, after, other = clocks.lease("a"), clocks.lease("b"), clocks.lease("c")
    before.acquire()
    after.acquire()
    other.acquire()
    after.release_predecessor("a")
    after.release_predecessor("nobody")
    after.release_predecessor("b")

    assert other.has_ended("a")
    assert not other.has_ended("b")
    with pytest.raises(LeaseLost):
        before.renew()


def test_what_is_no_lease_is_refused(clocks: Clocks) -> None:
    for body in (b"{}", b"[", b"x" * 10_000):
        clocks.store.replace(node_key("a"), body, tag=None)
        with pytest.raises(StoreRefused):
            read_lease(clocks.store, "a")


def test_real_stores_keep_it(store: ObjectStore) -> None:
    theirs, ours = NodeLease(store, "a"), NodeLease(store, "b")
    theirs.acquire()
    ours.acquire()
    theirs.renew()

    assert not ours.has_ended("a")
    theirs.release()
    assert ours.has_ended("a")
