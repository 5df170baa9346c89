"""What every object store promises: the same tests against a folder and against a bucket of a real server."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenants.replica.objects import ObjectChanged, ObjectExists, ObjectMissing, ObjectStore, Stored
from tenants.replica.stores import open_store
from tests.tenants.replica.s3_server import CREDENTIALS

RACERS = 8


def race(action: Callable[[int], Stored]) -> tuple[list[Stored], list[BaseException]]:
    """Have several threads do the same at once, and return what the winners got, and why the others lost."""
    start = threading.Barrier(RACERS)

    def run(number: int) -> Stored:
        start.wait()
        return action(number)

    with ThreadPoolExecutor(RACERS) as pool:
        futures = [pool.submit(run, number) for number in range(RACERS)]
    lost = [error for future in futures if (error := future.exception()) is not None]
    return [future.result() for future in futures if future.exception() is None], lost


def content(store: ObjectStore, key: str) -> bytes:
    return store.read(key, bytes_max=2**26)[1]


def keys(store: ObjectStore, prefix: str, after: str = "") -> list[str]:
    return [listed.key for listed in store.list(prefix, after=after)]


def test_what_is_created_can_be_read(store: ObjectStore) -> None:
    metadata = {"engram-epoch": "7", "litestream-timestamp": "2026-08-01T10:00:00.123Z", "engram-batch": "a b=c/d+e;f"}

    created = store.create("tenants/a/1", b"content", metadata)

    assert (created.key, created.size, created.metadata) == ("tenants/a/1", 7, metadata)
    assert store.head("tenants/a/1") == created
    assert store.read("tenants/a/1", bytes_max=7) == (created, b"content")


def test_an_empty_object(store: ObjectStore) -> None:
    store.create("empty", b"")

    assert content(store, "empty") == b""
    with store.open("empty", length=10) as opened:
        assert list(opened.pieces) == []


def test_empty_metadata_are_left_out(store: ObjectStore) -> None:
    store.create("key", b"", {"engram-previous": "", "engram-epoch": "0"})

    found = store.head("key")
    assert found is not None
    assert found.metadata == {"engram-epoch": "0"}


def test_what_is_there_is_not_created_again(store: ObjectStore, tmp_path: Path) -> None:
    store.create("key", b"first", {"by": "first"})
    (tmp_path / "file").write_bytes(b"file")

    for body in (b"second", tmp_path / "file"):
        with pytest.raises(ObjectExists):
            store.create("key", body, {"by": "second"})

    stored, found = store.read("key", bytes_max=10)
    assert (stored.metadata, found) == ({"by": "first"}, b"first")


def test_of_those_who_create_at_once_one_wins(store: ObjectStore) -> None:
    for attempt in range(10):
        key = f"race/{attempt}"

        won, lost = race(lambda number, key=key: store.create(key, b"%d" % number, {"by": str(number)}))  # type: ignore[misc]

        stored, found = store.read(key, bytes_max=10)
        assert [winner.tag for winner in won] == [stored.tag]
        assert {type(error) for error in lost} == {ObjectExists}
        assert stored.metadata == {"by": found.decode()}


def test_two_who_have_the_store_open_race_as_well(store_address: str) -> None:
    stores = [open_store(store_address, CREDENTIALS) for _ in range(RACERS)]

    won, lost = race(lambda number: stores[number].create("key", b"%d" % number))

    assert (len(won), {type(error) for error in lost}) == (1, {ObjectExists})
    for opened in stores:
        opened.close()


def test_a_state_is_replaced_by_who_knows_it(store: ObjectStore) -> None:
    first = store.create("owner.json", b"first", {"number": "1"})

    second = store.replace("owner.json", b"second", tag=first.tag, metadata={"number": "2"})

    assert second.tag != first.tag
    assert store.read("owner.json", bytes_max=10) == (second, b"second")
    with pytest.raises(ObjectChanged):
        store.replace("owner.json", b"third", tag=first.tag)
    assert content(store, "owner.json") == b"second"


def test_whatever_is_there_is_replaced_without_a_tag(store: ObjectStore) -> None:
    store.replace("key", b"first", tag=None)
    store.replace("key", b"second", tag=None)

    assert content(store, "key") == b"second"


def test_what_is_not_there_is_in_no_state(store: ObjectStore) -> None:
    tag = store.create("key", b"").tag
    store.delete(["key"])

    with pytest.raises(ObjectChanged):
        store.replace("key", b"again", tag=tag)


def test_of_those_who_replace_a_state_at_once_one_wins(store: ObjectStore) -> None:
    tag = store.create("owner.json", b"nobody").tag
    for _ in range(10):
        won, lost = race(
            lambda number, tag=tag: store.replace("owner.json", os.urandom(9), tag=tag, metadata={"by": str(number)})  # type: ignore[misc]
        )

        assert len(won) == 1
        assert {type(error) for error in lost} == {ObjectChanged}
        assert store.head("owner.json") == won[0]
        tag = won[0].tag


def test_what_is_missing(store: ObjectStore) -> None:
    assert store.head("nothing/here") is None
    assert keys(store, "nothing/") == []
    with pytest.raises(ObjectMissing):
        store.read("nothing/here", bytes_max=10)
    with pytest.raises(ObjectMissing), store.open("nothing/here", start=3):
        pass


def test_what_is_too_large_to_be_read_at_once(store: ObjectStore) -> None:
    store.create("key", b"12345")

    with pytest.raises(ValueError, match="larger"):
        store.read("key", bytes_max=4)


def test_ranges(store: ObjectStore) -> None:
    whole = bytes(range(256)) * 10
    store.create("key", whole)

    for start, length in [(0, 1), (0, 2560), (100, 100), (2559, 1), (2000, 9999), (5, None), (2560, 10), (9999, None)]:
        with store.open("key", start=start, length=length) as opened:
            assert opened.stored.size == len(whole)
            assert b"".join(opened.pieces) == whole[start : None if length is None else start + length]


def test_a_reader_may_stop(store: ObjectStore) -> None:
    store.create("key", os.urandom(2**20))

    for _ in range(40):  # more than there are connections
        with store.open("key") as opened:
            next(opened.pieces)

    assert store.head("key") is not None


@pytest.mark.parametrize("size", [3 * 2**20, 33 * 2**20])
def test_a_large_file(store: ObjectStore, tmp_path: Path, size: int) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(size))

    created = store.create("large", path, {"engram-batch": "1"})

    assert created.size == size
    assert content(store, "large") == path.read_bytes()
    found = store.head("large")
    assert found == created
    assert [listed.size for listed in store.list("large")] == [size]
    with pytest.raises(ObjectExists):
        store.create("large", path)


def test_of_those_who_create_a_large_file_at_once_one_wins(store: ObjectStore, tmp_path: Path) -> None:
    for number in range(RACERS):
        (tmp_path / str(number)).write_bytes(b"%d" % number * (17 * 2**20))

    won, lost = race(lambda number: store.create("large", tmp_path / str(number), {"by": str(number)}))

    stored, found = store.read("large", bytes_max=2**26)
    assert [winner.tag for winner in won] == [stored.tag]
    assert {type(error) for error in lost} == {ObjectExists}
    assert set(found) == {ord(stored.metadata["by"])}


def test_a_file_that_is_not_there_is_the_callers_mistake(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.create("key", tmp_path / "nothing")


def test_keys_are_listed_in_the_order_of_their_bytes(store: ObjectStore) -> None:
    made = ["a-b", "a.b", "a/b", "a/c", "a0", "a_", "b/a/z", "b/a.z", "A", "Z/9"]
    for key in made:
        store.create(key, key.encode())

    assert keys(store, "") == sorted(made)
    assert keys(store, "a") == [key for key in sorted(made) if key.startswith("a")]
    assert keys(store, "a/") == ["a/b", "a/c"]
    for after in [*made, "a", "a/bb", "b/a", "zz"]:
        assert keys(store, "", after) == [key for key in sorted(made) if key > after]
        assert keys(store, "b/", after) == [key for key in sorted(made) if key > after and key.startswith("b/")]


def test_a_listing_goes_on_beyond_a_page(store: ObjectStore) -> None:
    made = [f"many/{number:04x}" for number in range(1030)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.create(key, b""), made))
    asked = store.requests["list"]

    found = store.list("many/")
    assert [next(found).key for _ in range(10)] == made[:10]
    assert store.requests["list"] == asked + 1  # no more than was wanted
    assert [listed.key for listed in found] == made[10:]

    store.delete(made)
    assert keys(store, "") == []


def test_a_listing_says_when_and_how_large(store: ObjectStore) -> None:
    first = store.create("key", b"12345", {"litestream-timestamp": "2001-01-01T00:00:00.000Z"})

    (listed,) = store.list("")

    assert (listed.key, listed.size) == (first.key, 5)
    assert listed.modified_ms > 1_500_000_000_000  # when it was stored, not the time that stands beside it


def test_what_was_deleted_is_gone_and_may_come_again(store: ObjectStore) -> None:
    store.create("a/1", b"first", {"number": "1"})
    store.create("a/2", b"")

    store.delete(["a/1", "a/never", "b/never"])

    assert store.head("a/1") is None
    assert keys(store, "") == ["a/2"]
    store.create("a/1", b"again")
    stored, found = store.read("a/1", bytes_max=10)
    assert (stored.metadata, found) == ({}, b"again")


def test_requests_are_counted(store: ObjectStore) -> None:
    store.create("key", b"")
    store.replace("key", b"", tag=None)
    store.head("key")
    store.read("key", bytes_max=1)
    list(store.list(""))
    store.delete(["key"])

    assert store.requests == {"put": 2, "get": 1, "head": 1, "list": 1, "delete": 1}


BAD_KEYS = [
    "",
    "/a",
    "a/",
    "a//b",
    "../a",
    "a/../b",
    "a/.hidden",
    ".metadata/a",
    "a b",
    "ä",
    "a\0",
    "a" * 300,
    "a/" * 300 + "a",
]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_what_is_no_key(store: ObjectStore, key: str) -> None:
    for action in (
        lambda: store.create(key, b""),
        lambda: store.replace(key, b"", tag=None),
        lambda: store.head(key),
        lambda: store.read(key, bytes_max=1),
        lambda: store.delete([key]),
    ):
        with pytest.raises(ValueError, match="no key"):
            action()


@pytest.mark.parametrize("metadata", [{"Upper": "a"}, {"a": "ä"}, {"a": " a"}, {"a": "a\n"}, {"a b": "c"}, {"a": "x" * 2050}])
def test_what_is_no_metadata(store: ObjectStore, metadata: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="metadata"):
        store.create("key", b"", metadata)


value = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=60).filter(
    lambda text: text == text.strip()
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(metadata=st.dictionaries(st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True), value, max_size=8))
def test_metadata_come_back_as_they_were(store: ObjectStore, metadata: dict[str, str]) -> None:
    store.delete(["key"])
    store.create("key", b"", metadata)

    found = store.head("key")
    assert found is not None
    assert found.metadata == metadata
