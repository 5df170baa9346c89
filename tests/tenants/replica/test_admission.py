"""From what a tenant is served: each row of the table in ``decision``, and what admission does about it in the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.captured import Position
from engine.ltx import Decoder, Header, Trailer
from tenants.replica.history.compaction import compact
from tenants.replica.history.rebuild import rebuild
from tenants.replica.history.snapshots import put_snapshot
from tenants.replica.layout import ltx_key, owner_key, tombstone_key
from tenants.replica.objects import ObjectStore, StoreRefused, StoreUnavailable
from tenants.replica.ownership.admission import Admission, Erased, Local, Moved, admit
from tenants.replica.ownership.decision import decide
from tenants.replica.ownership.head import Head, find_head
from tenants.replica.ownership.lease import NodeLease
from tenants.replica.tree import FileInfo, Tree
from tests.tenants.replica.histories import TENANT, History, tree_of
from tests.tenants.replica.memory_store import MemoryStore, Wire

HEAD = 12
NO_DISK = Local(position=None, has_database=False, outbox=None)


def info(checksum: int, batch: str) -> FileInfo:
    return FileInfo(timestamp_ms=1, batch=batch, previous="", epoch=1, checksum=checksum, pages=1, whole=False)


def local(
    txid: int | None,
    outbox: tuple[int, int] | None = None,
    *,
    checksum: int = 0,
    whole_next: bool = False,
    rebasing: bool = False,
    batch: str = "ours",
) -> Local:
    """A database whose position is ``txid``; its files are called ``batch``."""
    position = (
        None if txid is None else Position(serial=1, txid=txid, checksum=checksum, whole_next=whole_next, rebasing=rebasing)
    )
    return Local(position=position, has_database=True, outbox=outbox, batch=lambda _: batch)


def outcome(disk: Local, *, head: int = HEAD, head_checksum: int = 7, batch: str = "theirs", before: int | None = None) -> str:
    """Decide, when the store's last file is ``batch`` and ``before`` is the checksum of the shipped one in the store."""
    found = Head(txid=head, info=info(head_checksum, batch)) if head else Head(txid=0)
    return decide(disk, found, lambda _: before)


@pytest.mark.parametrize(
    ("expected", "disk", "store"),
    [
        # No database here.
        ("new", NO_DISK, {"head": 0}),
        ("restore", NO_DISK, {}),
        ("restore", Local(position=Position(serial=1, txid=HEAD, checksum=7), has_database=False, outbox=None), {}),
        # Nothing in the store.
        ("here", local(None), {"head": 0}),
        ("here", local(0), {"head": 0}),
        ("here", local(3, (1, 3)), {"head": 0}),
        ("here", local(4, (1, 3)), {"head": 0}),
        ("rebase", local(3), {"head": 0}),
        ("rebase", local(3, (2, 3)), {"head": 0}),
        ("rebase", local(5, (1, 3)), {"head": 0}),
        ("rebase", local(None, (1, 3)), {"head": 0}),
        # The store has what was shipped last.
        ("here", local(HEAD, checksum=7), {}),
        ("here", local(HEAD + 2, (HEAD + 1, HEAD + 2)), {}),
        ("here", local(HEAD + 3, (HEAD + 1, HEAD + 2)), {}),
        ("here", local(HEAD, whole_next=True), {}),
        ("rebase", local(HEAD, (HEAD - 3, HEAD + 2), whole_next=True, rebasing=True), {}),
        ("rebase", local(HEAD - 1, (HEAD - 3, HEAD), whole_next=True, rebasing=True), {"before": 7}),
        ("rebase", local(HEAD + 4, (HEAD + 1, HEAD + 2)), {}),
        ("rebase", local(None, (HEAD + 1, HEAD + 2)), {}),
        ("restore", local(HEAD, checksum=8), {}),
        # The store has a file that waits here.
        ("here", local(HEAD, (HEAD, HEAD)), {"batch": "ours"}),
        ("here", local(HEAD + 1, (HEAD - 1, HEAD + 1)), {"batch": "ours"}),
        ("rebase", local(None, (HEAD, HEAD + 1)), {"batch": "ours"}),
        ("restore", local(HEAD, (HEAD, HEAD)), {"before": 8}),
        ("restore", local(HEAD + 1, (HEAD, HEAD + 1)), {"before": None}),
        ("restore", local(1, (1, 1)), {"head": 1}),
        # Only fences behind what was shipped.
        ("rebase", local(HEAD + 1, (HEAD, HEAD + 1)), {"before": 7}),
        ("rebase", local(HEAD - 1, (HEAD - 2, HEAD - 1)), {"before": 7}),
        ("rebase", local(HEAD - 2), {"before": 7}),
        # Another has written.
        ("restore", local(HEAD - 2), {"before": 8}),
        ("restore", local(HEAD - 1, (HEAD - 2, HEAD - 1)), {"before": 8}),
        ("restore", local(0), {}),
        # The store has lost its newest files.
        ("rebase", local(HEAD + 1), {}),
        ("rebase", local(HEAD + 5, (HEAD + 3, HEAD + 5)), {}),
        # Nobody knows where this database comes from.
        ("restore", local(None), {}),
    ],
)
def test_what_a_disk_is_worth(expected: str, disk: Local, store: dict[str, Any]) -> None:
    assert outcome(disk, **store) == expected


@given(
    position=st.none() | st.integers(0, 8),
    has_database=st.booleans(),
    first=st.integers(1, 8),
    count=st.integers(0, 4),
    head=st.integers(1, 8),
    before=st.none() | st.just(8),
)
def test_without_proof_the_store_is_believed(
    position: int | None, has_database: bool, first: int, count: int, head: int, before: int | None
) -> None:
    """A head that another has written is given up only by who had shipped it, or more."""
    outbox = (first, first + count - 1) if count else None
    disk = Local(
        position=None if position is None else Position(serial=1, txid=position, checksum=8),
        has_database=has_database,
        outbox=outbox,
        batch=lambda _: "ours",
    )
    shipped = outbox[0] - 1 if outbox else position
    found = outcome(disk, head=head, before=before)

    if not has_database or shipped is None or shipped < head:
        assert found == "restore"
    if found == "here":
        assert shipped == head


class Place:
    """A tenant's history in a store, and nodes that want it."""

    def __init__(self, store: Any, spool: Path) -> None:
        self.store = store
        self.tree = tree_of(store, spool)
        self.spool = spool
        self.history = History(self.tree)

    def lease(self, node: str, store: Any = None) -> NodeLease:
        lease = NodeLease(store or self.store, node)
        lease.acquire()
        return lease

    def disk(self) -> Local:
        """The one from which all of the history was shipped."""
        return local(self.history.txid, checksum=self.history.checksum)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(MemoryStore(), tmp_path / "spool")


def asked(place: Place) -> dict[str, int]:
    return {kind: count for kind, count in place.store.requests.items() if count}


def count_requests(place: Place, work: Callable[[], object]) -> int:
    before = sum(place.store.requests.values())
    work()
    return sum(place.store.requests.values()) - before


def test_a_new_tenant(place: Place) -> None:
    found = admit(place.tree, place.lease("a"), NO_DISK)

    assert (found.outcome, found.epoch, found.head) == ("new", 1, Head(txid=0))


def test_a_disk_that_goes_on_costs_five_requests(place: Place) -> None:
    lease = place.lease("a")
    place.history.write_some(70)
    admit(place.tree, lease, place.disk())
    found: list[Admission] = []

    def again() -> None:
        found.append(admit(place.tree, lease, place.disk(), hint=70))

    assert count_requests(place, again) == 5
    assert found[0].outcome == "here"
    assert found[0].head.txid == 70
    assert found[0].head.info == place.tree.info(0, 70, 70)


def test_an_empty_disk_restores_behind_a_fence(place: Place, tmp_path: Path) -> None:
    place.history.write_some(3)
    before = find_head(place.tree)
    found = admit(place.tree, place.lease("a"), NO_DISK)

    assert found.outcome == "restore"
    assert found.head.txid == 4
    assert before.info is not None
    fence = found.head.info
    assert fence is not None
    assert (fence.previous, fence.checksum, fence.pages) == (before.info.batch, before.info.checksum, before.info.pages)
    assert fence.epoch == found.epoch
    assert fence.timestamp_ms > before.info.timestamp_ms
    rebuilt = rebuild(place.tree, tmp_path / "restored")
    assert (rebuilt.txid, rebuilt.checksum) == (4, place.history.checksum)
    assert (tmp_path / "restored").read_bytes() == place.history.states[3]


def test_a_fence_is_a_file_without_pages(place: Place) -> None:
    place.history.write_some(2)
    found = admit(place.tree, place.lease("a"), NO_DISK)
    decoder = Decoder()
    with place.tree.open(0, 3, 3) as (_, pieces):
        decoder.put(b"".join(pieces))

    header, trailer = decoder.take(), decoder.take()
    assert isinstance(header, Header)
    assert isinstance(trailer, Trailer)
    assert (header.min_txid, header.max_txid, header.commit) == (3, 3, 7)
    assert found.head.info is not None
    assert header.node_id == found.head.info.checksum
    decoder.close()


def test_what_arrives_before_the_fence_is_restored_too(place: Place) -> None:
    place.history.write_some(2)
    late = [lambda: place.history.write_some(1), lambda: place.history.write_some(1)]

    def overtaken(kind: str, request: Callable[[], Any]) -> Any:
        """Each time something is about to be created in the history, an earlier owner's file comes first."""
        if kind == "put" and late and owner_key(TENANT) in place.store.objects:
            late.pop()()
        return request()

    tree = Tree(Wire(place.store, overtaken), TENANT, None, spool=place.spool)
    found = admit(tree, place.lease("a"), NO_DISK)

    assert not late
    assert found.head.txid == 5
    assert found.head.info is not None
    before = place.tree.info(0, 4, 4)
    assert before is not None
    assert found.head.info.previous == before.batch


def test_who_was_overtaken_before_its_fence_does_not_have_the_tenant(place: Place) -> None:
    place.history.write_some(2)
    first, second = place.lease("a"), place.lease("b")
    arrivals = [1]

    def stalling(kind: str, request: Callable[[], Any]) -> Any:
        """Just before the fence is put, the node's lease ends, and another takes the tenant."""
        if kind == "put" and owner_key(TENANT) in place.store.objects and arrivals:
            arrivals.pop()
            first.release()
            admit(place.tree, second, NO_DISK)
        return request()

    tree = Tree(Wire(place.store, stalling), TENANT, None, spool=place.spool)
    with pytest.raises(Moved) as moved:
        admit(tree, first, NO_DISK)

    assert moved.value.node == "b"


def test_a_fence_whose_answer_was_lost_does_no_harm(place: Place) -> None:
    place.history.write_some(2)
    lease = place.lease("a")

    def losing(kind: str, request: Callable[[], Any]) -> Any:
        answer = request()
        if kind == "put" and ltx_key(TENANT, 0, 3, 3) in place.store.objects:
            raise StoreUnavailable
        return answer

    with pytest.raises(StoreUnavailable):
        admit(Tree(Wire(place.store, losing), TENANT, None, spool=place.spool), lease, NO_DISK)
    found = admit(place.tree, lease, NO_DISK)

    assert (found.outcome, found.head.txid, found.epoch) == ("restore", 4, 2)


def test_who_comes_back_to_nothing_but_a_fence_keeps_what_it_has(place: Place) -> None:
    first, second = place.lease("a"), place.lease("b")
    place.history.write_some(3)
    disk = local(5, (4, 5))
    assert admit(place.tree, first, disk).outcome == "here"
    first.release()
    admit(place.tree, second, NO_DISK)
    second.release()
    first.acquire()
    found = admit(place.tree, first, disk)

    assert (found.outcome, found.head.txid) == ("rebase", 4)


def test_the_answer_to_the_last_put_was_lost(place: Place) -> None:
    place.history.write_some(3)
    last = place.tree.info(0, 3, 3)
    assert last is not None

    assert admit(place.tree, place.lease("a"), local(3, (3, 3), batch=last.batch)).outcome == "here"


def test_an_owner_that_was_lost_begins_behind_the_latest_epoch(place: Place) -> None:
    place.history.write_some(2)
    lease = place.lease("a")
    first = admit(place.tree, lease, NO_DISK)
    second = admit(place.tree, lease, NO_DISK)
    place.store.delete([owner_key(TENANT)])
    third = admit(place.tree, place.lease("b"), NO_DISK)

    assert first.epoch < second.epoch < third.epoch


def test_refusals(place: Place) -> None:
    first, second = place.lease("a"), place.lease("b")
    admit(place.tree, first, NO_DISK)
    with pytest.raises(Moved):
        admit(place.tree, second, NO_DISK)
    with pytest.raises(StoreUnavailable):
        admit(place.tree, NodeLease(place.store, "c"), NO_DISK)
    place.store.create(tombstone_key(TENANT), b"{}")
    with pytest.raises(Erased):
        admit(place.tree, first, NO_DISK)


def test_a_last_file_that_is_none_is_refused(place: Place) -> None:
    place.history.write_some(2)
    place.store.objects[ltx_key(TENANT, 0, 2, 2)].body = b"no such file" * 100

    with pytest.raises(StoreRefused):
        admit(place.tree, place.lease("a"), NO_DISK)


def test_the_head_is_found_with_few_requests(place: Place) -> None:
    place.history.write_some(150)
    compact(place.tree, place.spool, 1)
    rebuilt = rebuild(place.tree, place.spool / "database", txid=100)
    put_snapshot(place.tree, place.spool / "database", rebuilt, 1, place.spool)
    heads: list[Head] = []

    for hint, requests in ((0, 6), (150, 2), (140, 2), (1, 2), (151, 2), (152, 7), (10_000, 7)):
        found = count_requests(place, lambda: heads.append(find_head(place.tree, hint)))  # noqa: B023
        assert (hint, heads[-1].txid, found) == (hint, 150, requests)


def test_the_head_of_what_only_a_snapshot_is_left_of(place: Place, tmp_path: Path) -> None:
    place.history.write_some(5)
    put_snapshot(place.tree, tmp_path / "database", rebuild(place.tree, tmp_path / "database"), 1, place.spool)
    whole = find_head(place.tree)
    place.store.delete([ltx_key(TENANT, 0, txid, txid) for txid in range(1, 6)])
    left = find_head(place.tree)

    assert whole.txid == left.txid == 5
    assert whole.info is not None
    assert left.info is not None
    assert (left.info.checksum, left.entry is not None and left.entry.level) == (whole.info.checksum, 9)
    found = admit(place.tree, place.lease("a"), NO_DISK)
    assert found.head.txid == 6
    rebuild(place.tree, tmp_path / "restored")
    assert (tmp_path / "restored").read_bytes() == place.history.states[5]


def test_real_stores(store: ObjectStore, tmp_path: Path) -> None:
    place = Place(store, tmp_path / "spool")
    first, second = place.lease("a"), place.lease("b")
    assert admit(place.tree, first, NO_DISK).outcome == "new"
    place.history.write_some(3)
    assert admit(place.tree, first, place.disk(), hint=3).outcome == "here"
    with pytest.raises(Moved):
        admit(place.tree, second, NO_DISK)
    first.release()
    found = admit(place.tree, second, NO_DISK)

    assert (found.outcome, found.head.txid) == ("restore", 4)
