"""The simulated disk itself: what is synced lasts, and of the rest every part may or may not be there."""

from __future__ import annotations

import random
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from tests.faults.power_disk import LYING_CACHE_WRITES, Disk, Event, Name, Resize, Sync, SyncNames, Write

CUTS = 300
MADE: list[Event] = [Name("a", 1), SyncNames()]
"""A file whose name lasts."""


def cuts(*events: Event, honest: bool = True) -> list[dict[str, bytes]]:
    disk = Disk({}, honest=honest)
    for event in events:
        disk.apply(event)
    return [disk.cut(random.Random(seed)) for seed in range(CUTS)]


def left(images: Iterable[dict[str, bytes]]) -> set[bytes]:
    """Return what was found in file ``a``."""
    return {image["a"] for image in images}


def test_what_was_synced_is_there_after_every_cut() -> None:
    events = [*MADE, Write(1, 0, b"one"), Write(1, 3, b"two"), Sync(1)]

    assert left(cuts(*events)) == {b"onetwo"}


def test_what_was_not_synced_may_be_there_or_not() -> None:
    found = left(cuts(*MADE, Write(1, 0, b"old"), Sync(1), Write(1, 0, b"new")))

    assert found == {b"old", b"new", b"nld", b"ned"}  # the last two are torn


def test_sectors_arrive_in_any_order() -> None:
    first, second = b"1" * 4096, b"2" * 4096
    found = left(cuts(*MADE, Write(1, 0, first), Write(1, 4096, second)))

    assert {b"", first, first + second, bytes(4096) + second} < found


def test_a_file_may_keep_its_length_and_lose_its_end() -> None:
    found = left(cuts(*MADE, Write(1, 0, b"content"), Sync(1), Resize(1, 0), Write(1, 0, b"new")))

    assert {b"content", b"", b"new", b"newtent"} <= found


def test_a_name_lasts_with_its_folder() -> None:
    unsynced = cuts(Name("a", 1), Write(1, 0, b"x"), Sync(1))
    deleted = cuts(*MADE, Name("a", None))

    assert {"a" in image for image in unsynced} == {True, False}
    assert {"a" in image for image in deleted} == {True, False}
    assert {"a" in image for image in cuts(*MADE, Name("a", None), SyncNames())} == {False}


def test_a_lying_disk_loses_the_last_that_it_was_told_to_sync_and_nothing_older() -> None:
    writes = [Write(1, number, b"x") for number in range(3 * LYING_CACHE_WRITES)]
    found = left(cuts(*MADE, *writes, Sync(1), honest=False))

    assert min(map(len, found)) == 2 * LYING_CACHE_WRITES
    assert max(map(len, found)) == 3 * LYING_CACHE_WRITES


PIECES = st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=1500)), min_size=1, max_size=6)


@given(before=PIECES, after=PIECES, seed=st.integers(0, 2**32))
def test_a_byte_that_lasted_is_there_or_what_was_written_over_it(
    before: list[tuple[int, bytes]], after: list[tuple[int, bytes]], seed: int
) -> None:
    disk = Disk({"a": b""})
    file = disk.file("a")
    assert file is not None
    possible: dict[int, set[int]] = {}
    for at, data in before:
        disk.apply(Write(file, at, data))
        possible |= {position: {byte} for position, byte in enumerate(data, at)}
    disk.apply(Sync(file))
    for at, data in after:
        disk.apply(Write(file, at, data))
        for position, byte in enumerate(data, at):
            if position in possible:
                possible[position].add(byte)
    found = disk.cut(random.Random(seed))["a"]

    assert [position for position, bytes_ in possible.items() if found[position] not in bytes_] == []
