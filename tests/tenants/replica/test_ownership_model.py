"""Nodes that crash, stall, lose answers and disks, and all want one tenant: the real code of ownership, in thousands of orders.

``ownership_world`` says what happens in a run. Here is that nothing goes wrong in any, and that each measure is needed: where
one is left out, runs that go wrong are found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping

import pytest
import structlog

from tenants.replica.ownership import admission
from tenants.replica.ownership.decision import Local, Outcome
from tenants.replica.ownership.head import Head
from tenants.replica.ownership.lease import CLOCK_ALLOWANCE_S, NodeLease, read_lease
from tests.tenants.replica.ownership_world import Unsafe, World

_RUNS = 2_000
_SEARCHED_MAX = 3_000
"""Runs in which a fault must turn up when a measure is left out. The rarest is in one of a hundred."""

_LOST = "acknowledged and lost"
_FORKED = "was made on another state"
_STUCK = "nobody can go on"
_ROBBED = "taken from one whose lease held"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Ten thousand admissions log nothing."""
    with structlog.testing.capture_logs(processors=[_drop]):
        yield


def _drop(*_: object) -> MutableMapping[str, object]:
    raise structlog.DropEvent


@pytest.mark.parametrize("part", range(4))
def test_nothing_that_was_acknowledged_is_lost_and_there_is_one_history(part: int) -> None:
    acknowledged, outcomes = 0, Counter[str]()
    for seed in range(part, _RUNS, 4):
        world = World(seed)
        world.run()

        assert not world.faults(), seed
        acknowledged += len(world.acknowledged)
        outcomes += Counter(world.outcomes)

    # It would also hold if nothing happened.
    assert acknowledged > _RUNS
    assert min(outcomes[each] for each in ("new", "here", "restore", "rebase")) > 20


def test_the_store_must_refuse_what_is_there() -> None:
    assert _finds(_LOST, Unsafe(ignores_conditions=True))


def test_fences_must_stay() -> None:
    assert _finds(_FORKED, Unsafe(collects_fences=True))


def test_a_conflict_must_be_looked_at() -> None:
    assert _finds(_LOST, Unsafe(believes_any_conflict=True))


def test_what_is_restored_must_be_read_behind_the_fence() -> None:
    assert _finds(_FORKED, Unsafe(restores_before_fencing=True))


def test_numbers_alone_do_not_say_that_a_disk_is_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_numbers(local: Local, head: Head, _: Callable[[int], int | None]) -> Outcome:
        if not local.has_database:
            return "restore" if head.txid else "new"
        return "here" if local.position is not None and local.position.txid >= head.txid else "restore"

    monkeypatch.setattr(admission, "decide", by_numbers)

    assert _finds(_STUCK)


def test_a_lease_is_not_judged_by_wall_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_wall_clock(lease: NodeLease, node: str) -> bool:
        found = read_lease(lease._store, node)
        now_ms = (lease._wall() - CLOCK_ALLOWANCE_S) * 1000
        return found is None or found[0].released or found[0].expires_at < now_ms

    monkeypatch.setattr(NodeLease, "has_ended", by_wall_clock)

    assert _finds(_ROBBED)


def test_a_lease_that_ran_out_makes_all_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    renew = NodeLease.renew

    def without_a_gap(lease: NodeLease) -> None:
        if lease._tag is not None:
            lease._ends_at = float("inf")
        renew(lease)

    monkeypatch.setattr(NodeLease, "renew", without_a_gap)

    assert _finds(_ROBBED)


def _finds(fault: str, unsafe: Unsafe | None = None) -> bool:
    """Whether such a fault turns up in some run."""
    for seed in range(_SEARCHED_MAX):
        world = World(seed, unsafe)
        try:
            world.run()
        except AssertionError:
            continue  # what was left out may also end a run
        if any(fault in found for found in world.faults()):
            return True
    return False
