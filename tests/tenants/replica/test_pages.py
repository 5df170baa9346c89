"""A database that is put together in a file is the one that the files describe, whatever they do to its size."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.free_space import RESERVE_BYTES_MIN
from engine.ltx import Decoder, Header, LtxError, Page, database_checksum, lock_page, page_checksum
from tenants.replica.history.encoding import encoded, every_page
from tenants.replica.history.failures import BrokenHistory
from tenants.replica.history.page_checksums import PageChecksums
from tenants.replica.history.pages import PageFile
from tests.faults.failing_disk import free_bytes, needs_root, small_disk
from tests.tenants.replica.histories import content, ltx

PAGE = 512


def header(txid: int, commit: int, *, page_size: int = PAGE) -> Header:
    return Header(page_size=page_size, commit=commit, min_txid=txid, max_txid=txid, timestamp_ms=txid)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


changes = st.lists(
    st.tuples(st.integers(1, 12), st.dictionaries(st.integers(1, 12), st.integers(0, 99), min_size=1)), min_size=1, max_size=8
)


@settings(deadline=None)
@given(changes, st.integers(1, 5000))
def test_it_is_the_database_that_the_files_describe(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, dict[int, int]]], piece: int
) -> None:
    path = tmp_path_factory.mktemp("pages") / "database"
    model: dict[int, bytes] = {}
    touched: set[int] = set()
    with PageFile(path) as pages:
        for txid, (commit, changed) in enumerate(steps, 2):
            written = {number: content(seed) for number, seed in changed.items() if number <= commit} or {1: content(txid)}
            pages.apply(pieces(ltx(header(txid, commit), written), piece))
            model = {number: page for number, page in {**model, **written}.items() if number <= commit}
            touched = {number for number in touched | written.keys() if number <= commit}

        assert path.read_bytes() == b"".join(model.get(number, bytes(PAGE)) for number in range(1, commit + 1))
        assert pages.pages == commit
        assert pages.is_whole == (set(range(1, commit + 1)) == touched)
        assert pages.checksum == database_checksum(page_checksum(number, page) for number, page in model.items())
        assert touched == {number for first, end in pages.runs() for number in range(first, end)}


def test_a_file_without_pages_changes_nothing(tmp_path: Path) -> None:
    with PageFile(tmp_path / "database") as pages:
        pages.apply([ltx(header(1, 2), {1: content(1), 2: content(2)})])
        pages.apply([ltx(header(2, 1), {})])

        assert pages.pages == 2
        assert pages.is_whole
    assert (tmp_path / "database").read_bytes() == content(1) + content(2)


def test_pages_of_another_size_are_refused(tmp_path: Path) -> None:
    with PageFile(tmp_path / "database") as pages:
        pages.apply([ltx(header(1, 1), {1: content(1)})])

        with pytest.raises(LtxError, match="another size"):
            pages.apply([ltx(header(2, 1, page_size=1024), {1: content(1, 1024)})])


@pytest.mark.parametrize(("page_size", "commit"), [(4096, 2**24 + 1), (512, 2**24 + 1), (65536, 2**20 + 1)])
def test_who_claims_more_than_the_largest_database_is_refused(tmp_path: Path, page_size: int, commit: int) -> None:
    data = ltx(header(2, commit, page_size=page_size), {1: content(1, page_size)})

    with PageFile(tmp_path / "database") as pages, pytest.raises(LtxError, match=r"larger than|more pages than"):
        pages.apply([data])
    assert (tmp_path / "database").stat().st_size == 0


def test_a_broken_file_is_refused_wherever_it_breaks_off(tmp_path: Path) -> None:
    data = ltx(header(2, 3), {1: content(1), 3: content(3)})

    for end in range(len(data)):
        with PageFile(tmp_path / "database") as pages, pytest.raises(LtxError):
            pages.apply([data[:end]])


@needs_root
def test_a_database_that_its_small_files_do_not_show_leaves_the_disk_what_must_stay_free(tmp_path: Path) -> None:
    """An engine that was taken over ships gigabytes of zeros, which take up next to nothing, and then one page."""
    zeros = ltx(header(2, 20_000, page_size=4096), dict.fromkeys(range(1, 20_001), bytes(4096)))
    with small_disk(tmp_path / "disk", 64) as folder:
        with PageFile(folder / "database") as pages, pytest.raises(OSError, match="No space left") as error:
            pages.apply(pieces(zeros, 4096))
        assert error.value.errno == errno.ENOSPC
        assert free_bytes(folder) >= RESERVE_BYTES_MIN


def test_what_a_broken_attempt_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"not to be touched")
    (tmp_path / "database").symlink_to(tmp_path / "elsewhere")

    with PageFile(tmp_path / "database") as pages:
        pages.apply([ltx(header(1, 1), {1: content(1)})])

    assert (tmp_path / "elsewhere").read_bytes() == b"not to be touched"
    assert (tmp_path / "database").read_bytes() == content(1)


def test_the_page_of_the_locks_is_never_missed(tmp_path: Path) -> None:
    """Page 16385 of 64 KiB holds SQLite's locks: a database that goes beyond it is whole without."""
    lock = lock_page(65536)
    sums = PageChecksums(65536)
    sums.resize(lock + 2)
    sums.note(1, list(range(1, lock)))

    assert not sums.is_whole
    sums.note(lock + 1, [7, 8])
    assert sums.is_whole
    assert [(1, lock), (lock + 1, lock + 3)] == list(sums.runs()) == every_page(65536, lock + 2)
    assert [(1, lock)] == every_page(65536, lock) == every_page(65536, lock - 1)

    with PageFile(tmp_path / "database") as pages:
        last = {lock - 1: content(1, 65536), lock + 1: content(2, 65536)}
        pages.apply([ltx(header(2, lock + 1, page_size=65536), last)])
        descriptor = os.open(tmp_path / "database", os.O_RDONLY)
        assert os.pread(descriptor, 65536, (lock - 2) * 65536) == last[lock - 1]
        assert os.pread(descriptor, 65536, lock * 65536) == last[lock + 1]
        os.close(descriptor)
        assert [(lock - 1, lock), (lock + 1, lock + 2)] == list(pages.runs())


@settings(deadline=None)
@given(st.sets(st.integers(1, 2000), min_size=1))
def test_what_was_written_is_encoded_again(tmp_path_factory: pytest.TempPathFactory, numbers: set[int]) -> None:
    folder = tmp_path_factory.mktemp("pages")
    written = {number: struct.pack(">Q", number) * (PAGE // 8) for number in numbers}
    commit = max(numbers)
    with PageFile(folder / "database") as pages:
        pages.apply([ltx(header(2, commit), written)])
        with encoded(folder / "database", pages.runs(), header(2, commit), folder, "file") as made:
            data = made.path.read_bytes()
            assert made.checksum == pages.checksum

    assert [folder / "database"] == list(folder.iterdir())
    assert ltx(header(2, commit), written) == data


def test_a_file_that_became_shorter_is_not_encoded(tmp_path: Path) -> None:
    (tmp_path / "database").write_bytes(content(1) + content(2)[:-1])

    with (
        pytest.raises(BrokenHistory),
        encoded(tmp_path / "database", [(1, 3)], header(1, 2), tmp_path, "file"),
    ):
        pytest.fail("it was encoded")


def test_the_decoder_gives_what_was_encoded(tmp_path: Path) -> None:
    """More pages than are read from a file, or written to it, at once."""
    size, count = 4096, 700
    data = b"".join(content(number, size) for number in range(1, count + 1))
    (tmp_path / "database").write_bytes(data)

    with encoded(tmp_path / "database", [(1, count + 1)], header(1, count, page_size=size), tmp_path, "file") as made:
        body = made.path.read_bytes()

    with PageFile(tmp_path / "again") as pages:
        pages.apply(pieces(body, 100_000))
        assert pages.checksum == made.checksum
    assert (tmp_path / "again").read_bytes() == data
    decoder = Decoder()
    decoder.put(body)
    assert [count] == [sum(isinstance(event, Page) for event in iter(decoder.take, None))]
