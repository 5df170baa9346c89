"""LTX: real files are read, what is written is read the same, and nothing hostile gets further than ``LtxError``."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import lz4.block
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ltx import (
    CHECKSUM_FLAG,
    FILE_BYTES_MIN,
    Decoder,
    Encoder,
    Header,
    LtxError,
    Page,
    Trailer,
    database_checksum,
    file_name,
    lock_page,
    page_checksum,
    parse_file_name,
)

REAL = sorted((Path(__file__).parent / "ltx_files").glob("*.ltx"))
SIZES = st.sampled_from([512, 1024, 4096, 65536])
PLAIN = Header(page_size=512, commit=9, min_txid=5, max_txid=7, timestamp_ms=1)


def read(data: bytes, piece: int = 1 << 20, **options: Any) -> tuple[Header, list[Page], Trailer]:
    decoder = Decoder(**options)
    events: list[Any] = []
    for start in range(0, len(data), piece):
        decoder.put(data[start : start + piece])
        while (event := decoder.take()) is not None:
            events.append(event)
    decoder.close()
    header, *pages, trailer = events
    return header, pages, trailer


def write(header: Header, pages: list[Page], post_apply_checksum: int = 0) -> bytes:
    encoder = Encoder(header)
    pieces = [encoder.begin(), *(encoder.page(page.number, page.content) for page in pages)]
    return b"".join([*pieces, encoder.end(post_apply_checksum)])


def real_page(number: int, size: int, seed: int) -> Page:
    return Page(number, bytes((i * number & 0xFF) ^ seed for i in range(size)))


@st.composite
def files(draw: st.DrawFn) -> tuple[Header, list[Page], int]:
    """Return what may stand in a file: header, pages and the checksum of the database after."""
    size = draw(SIZES)
    content = st.binary(min_size=1, max_size=8).map(lambda part: (part * size)[:size])
    is_snapshot, has_checksums = draw(st.booleans()), draw(st.booleans())
    commit = draw(st.integers(1, 5)) if is_snapshot else draw(st.integers(1, 2**32 - 2))
    numbers = range(1, commit + 1) if is_snapshot else sorted(draw(st.sets(st.integers(1, commit), max_size=5)))
    pages = [Page(number, draw(content)) for number in numbers if number != lock_page(size)]
    first = 1 if is_snapshot else draw(st.integers(2, 2**63 - 1))
    wal_offset = draw(st.integers(0, 2**63 - 1))
    bound = st.integers(0, 2**32 - 1 if wal_offset else 0)
    header = Header(
        page_size=size,
        commit=commit,
        min_txid=first,
        max_txid=draw(st.integers(first, 2**63 - 1)),
        timestamp_ms=draw(st.integers(0, 253_402_300_799_999)),
        has_checksums=has_checksums,
        pre_apply_checksum=CHECKSUM_FLAG | draw(st.integers(0, 2**63 - 1)) if has_checksums and not is_snapshot else 0,
        wal_offset=wal_offset,
        wal_size=draw(bound),
        wal_salt_1=draw(bound),
        wal_salt_2=draw(bound),
        node_id=draw(st.integers(0, 2**64 - 1)),
    )
    after = database_checksum(page_checksum(page.number, page.content) for page in pages) if has_checksums else 0
    return header, pages, after


@given(files(), st.integers(1, 5000))
def test_what_is_written_is_read_the_same(file: tuple[Header, list[Page], int], piece: int) -> None:
    header, pages, after = file
    data = write(header, pages, after)

    assert read(data, piece) == (header, pages, Trailer(after, int.from_bytes(data[-8:], "big")))


def test_real_files_are_read() -> None:
    snapshot, increment, around_the_lock, empty = (read(path.read_bytes(), 37) for path in REAL)
    before = snapshot[2].post_apply_checksum
    sums = [page_checksum(page.number, page.content) for page in (snapshot[1][1], *increment[1])]

    assert snapshot[0] == Header(
        page_size=512, commit=3, min_txid=1, max_txid=1, timestamp_ms=1_700_000_000_123, has_checksums=True
    )
    assert snapshot[1] == [real_page(number, 512, 7) for number in (1, 2, 3)]
    assert increment[0] == Header(
        page_size=512,
        commit=300,
        min_txid=2,
        max_txid=5,
        timestamp_ms=1_700_000_001_123,
        has_checksums=True,
        pre_apply_checksum=before,
        wal_offset=32,
        wal_size=1072,
        wal_salt_1=0xDEADBEEF,
        wal_salt_2=0x01020304,
        node_id=0x1122334455667788,
    )
    assert increment[1] == [real_page(number, 512, 9) for number in (2, 300)]
    assert database_checksum(sums, before) == increment[2].post_apply_checksum
    assert around_the_lock[1] == [real_page(number, 65536, 1) for number in (16384, 16386)]
    assert (empty[1], empty[0].commit) == ([], 20000)


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_a_real_file_written_again_differs_in_its_compression_only(path: Path) -> None:
    header, pages, trailer = read(path.read_bytes())
    again = write(header, pages, trailer.post_apply_checksum)

    assert read(again)[:2] == (header, pages)
    assert again[:100] == path.read_bytes()[:100]


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_every_flipped_bit_is_found(path: Path) -> None:
    """One within compressed bytes may leave the page as it is: of those the format keeps no checksum, but of the page."""
    sound = path.read_bytes()
    as_written = read(sound)
    for position in range(len(sound) * 8):
        data = bytearray(sound)
        data[position // 8] ^= 1 << position % 8
        try:
            assert read(bytes(data)) == as_written
        except LtxError:
            continue


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_every_flipped_bit_outside_the_pages_is_found(path: Path) -> None:
    sound = path.read_bytes()
    index_bytes = int.from_bytes(sound[-24:-16], "big")
    outside = [*range(100), *range(len(sound) - 16 - 8 - index_bytes - 6, len(sound))]

    for place in outside:
        for bit in range(8):
            data = bytearray(sound)
            data[place] ^= 1 << bit
            with pytest.raises(LtxError):
                read(bytes(data))


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_every_truncation_and_every_addition_is_found(path: Path) -> None:
    sound = path.read_bytes()
    for length in range(len(sound)):
        with pytest.raises(LtxError):
            read(sound[:length])
    for addition in (b"\0", b"LTX1", sound):
        with pytest.raises(LtxError):
            read(sound + addition)


@settings(max_examples=500)
@given(st.binary(max_size=300), st.sampled_from(REAL), st.integers(0, 900), st.integers(1, 300))
def test_hostile_bytes_are_refused_or_read(noise: bytes, path: Path, place: int, piece: int) -> None:
    real = path.read_bytes()
    for data in (
        noise,
        b"LTX1" + noise,
        real[:place] + noise + real[place:],
        real[:place] + noise + real[place + len(noise) :],
    ):
        try:
            read(data, piece)
        except LtxError as error:
            assert str(error)


@pytest.mark.parametrize(
    "change",
    [
        {"page_size": 0}, {"page_size": 256}, {"page_size": 4095}, {"page_size": 131072}, {"commit": -1}, {"commit": 2**32 - 1},
        {"commit": 0}, {"min_txid": 0}, {"min_txid": 8}, {"max_txid": 2**63}, {"timestamp_ms": -1}, {"timestamp_ms": 2**62},
        {"wal_offset": -1}, {"wal_size": 1}, {"wal_salt_1": 1}, {"wal_salt_2": 1}, {"wal_offset": 1, "wal_salt_1": 2**32},
        {"node_id": -1}, {"pre_apply_checksum": 1}, {"pre_apply_checksum": CHECKSUM_FLAG}, {"has_checksums": True},
        {"has_checksums": True, "pre_apply_checksum": 5},
        {"min_txid": 1, "has_checksums": True, "pre_apply_checksum": CHECKSUM_FLAG}, {"wal_offset": 2**63},
        {"wal_offset": 1, "wal_size": -1},
    ],
    ids=str,
)  # fmt: skip
def test_a_header_that_can_not_be(change: dict[str, Any]) -> None:
    fields = {name: getattr(PLAIN, name) for name in PLAIN.__dataclass_fields__} | change
    with pytest.raises(LtxError):
        Header(**fields)


@pytest.mark.parametrize(("offset", "value"), [(0, b"LTX2"), (4, b"\1\0\0\0"), (4, struct.pack(">I", 3)), (99, b"\1")])
def test_a_beginning_that_can_not_be(offset: int, value: bytes) -> None:
    data = bytearray(write(PLAIN, []))
    data[offset : offset + len(value)] = value
    with pytest.raises(LtxError):
        read(bytes(data))


LOCK = Header(page_size=65536, commit=16386, min_txid=5, max_txid=5, timestamp_ms=1)
SNAPSHOT = Header(page_size=512, commit=3, min_txid=1, max_txid=5, timestamp_ms=1)


@pytest.mark.parametrize(
    ("header", "numbers"),
    [(PLAIN, [0]), (PLAIN, [10]), (PLAIN, [2, 2]), (PLAIN, [3, 2]), (LOCK, [16385]), (SNAPSHOT, [2]), (SNAPSHOT, [1, 3]),
     (SNAPSHOT, [1, 2]), (SNAPSHOT, [])],
)  # fmt: skip
def test_pages_that_may_not_follow_each_other(header: Header, numbers: list[int]) -> None:
    """The encoder refuses to write them; a file with them, made by lying about the numbers, is not read either."""
    pages = [Page(number, bytes(header.page_size)) for number in numbers]
    with pytest.raises(LtxError):
        write(header, pages)
    data = header.encode() + b"".join(_frame(page) for page in pages) + bytes(6)
    with pytest.raises(LtxError):
        read(data)


def _frame(page: Page) -> bytes:
    compressed = lz4.block.compress(page.content, store_size=False)
    return struct.pack(">IHI", page.number, 1, len(compressed)) + compressed


def test_a_page_may_not_become_larger_than_a_page() -> None:
    """A few bytes that claim to be megabytes are refused before they are any."""
    bomb = lz4.block.compress(bytes(16_000_000), store_size=False)
    header = Header(page_size=65536, commit=9, min_txid=5, max_txid=5, timestamp_ms=1)
    for compressed in (bomb, bomb[:500], lz4.block.compress(bytes(65535), store_size=False), b"\xff" * 65_000):
        data = header.encode() + struct.pack(">IHI", 1, 1, len(compressed)) + compressed
        tracemalloc.start()
        with pytest.raises(LtxError):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
        tracemalloc.stop()


@pytest.mark.parametrize("claim", [0, 65536 + 65536 // 255 + 17, 2**32 - 1])
def test_a_page_of_an_impossible_length_is_not_waited_for(claim: int) -> None:
    decoder = Decoder()
    decoder.put(Header(page_size=65536, commit=9, min_txid=5, max_txid=5, timestamp_ms=1).encode())
    decoder.take()
    decoder.put(struct.pack(">IHI", 1, 1, claim))
    with pytest.raises(LtxError):
        decoder.take()


def test_a_database_larger_than_it_may_be_is_not_looked_at() -> None:
    data = write(PLAIN, [])
    assert read(data, database_bytes_max=9 * 512)[0] == PLAIN
    with pytest.raises(LtxError):
        read(data, database_bytes_max=9 * 512 - 1)


def test_a_snapshot_whose_checksum_after_is_another_is_refused() -> None:
    header = Header(page_size=512, commit=1, min_txid=1, max_txid=1, timestamp_ms=1, has_checksums=True)
    page = Page(1, bytes(512))
    right = page_checksum(1, page.content)

    assert read(write(header, [page], right))[2].post_apply_checksum == right
    for wrong in (right ^ 1, CHECKSUM_FLAG):
        with pytest.raises(LtxError):
            read(write(header, [page], wrong))
    for impossible in (0, 5):
        with pytest.raises(LtxError):
            write(header, [page], impossible)


def test_folding_out_is_folding_in_again() -> None:
    first, second, third = (page_checksum(number, bytes([number])) for number in (1, 2, 3))

    assert database_checksum([first, second, third, second]) == database_checksum([first, third])
    assert database_checksum([]) == CHECKSUM_FLAG


@given(st.integers(1, 2**63 - 1), st.integers(1, 2**63 - 1))
def test_a_name_says_its_transactions(one: int, other: int) -> None:
    first, last = sorted((one, other))

    assert parse_file_name(file_name(first, last)) == (first, last)


@pytest.mark.parametrize(
    "name",
    ["", "x.ltx", f"{1:016x}-{2:016X}.ltx ", f"{1:016x}-{2:016x}.ltx\n", f"{10:016X}-{11:016X}.ltx", f"{2:016x}-{1:016x}.ltx",
     f"{0:016x}-{1:016x}.ltx", f"{1:016x}-{2**63:016x}.ltx", "../" + file_name(1, 1), file_name(1, 1) + "\0",
     "١" * 16 + "-" + "1" * 16 + ".ltx"],
)  # fmt: skip
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(LtxError):
        parse_file_name(name)


def test_no_file_is_shorter_than_one_without_pages() -> None:
    assert len(write(PLAIN, [])) == FILE_BYTES_MIN
