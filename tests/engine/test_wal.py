"""The write-ahead log's chain: every flipped bit breaks it, a torn end is no damage."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.capture.wal import FRAME_HEADER_BYTES, HEADER_BYTES, Chain, Header, LogDamaged
from engine.store.connection import open_writer, preload

TRANSACTIONS = 8


@dataclass(frozen=True)
class Log:
    """A log that SQLite has written, and which frames are its commits, counted from 1."""

    data: bytes
    commits: list[int]

    @property
    def frame_bytes(self) -> int:
        return Header.parse(self.data).frame_bytes

    @property
    def frames(self) -> int:
        return (len(self.data) - HEADER_BYTES) // self.frame_bytes


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    preload()
    path = tmp_path_factory.mktemp("wal") / "memory.db"
    connection = open_writer(path)
    connection.execute("CREATE TABLE t (x)")
    commits = [_log_frames(connection)]
    for number in range(TRANSACTIONS):
        with connection:
            for _ in range(number % 3 + 1):
                connection.execute("INSERT INTO t VALUES (?)", (random.Random(number).randbytes(3500),))
        commits.append(_log_frames(connection))
    data = path.with_name("memory.db-wal").read_bytes()
    connection.close()
    return Log(data, commits)


def _log_frames(connection: apsw.Connection) -> int:
    return connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)[0]


def follow(data: bytes, at_a_time: int = 5) -> Chain:
    """Feed all whole frames of a log."""
    header = Header.parse(data)
    chain = Chain(header)
    whole = (len(data) - HEADER_BYTES) // header.frame_bytes * header.frame_bytes
    for start in range(0, whole, at_a_time * header.frame_bytes):
        end = min(whole, start + at_a_time * header.frame_bytes)
        chain.feed(data[HEADER_BYTES + start : HEADER_BYTES + end])
    return chain


@pytest.mark.parametrize("at_a_time", [1, 2, 5, 1000])
def test_the_chain_holds_to_the_last_commit(log: Log, at_a_time: int) -> None:
    chain = follow(log.data, at_a_time)

    assert (chain.frames, chain.committed, chain.is_damaged) == (log.frames, log.commits[-1], False)


@given(data=st.data())
def test_a_flipped_bit_anywhere_breaks_it_there(log: Log, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(log.data) - 1))
    flipped = bytearray(log.data)
    flipped[position] ^= 1 << data.draw(st.integers(0, 7))
    if position < HEADER_BYTES:
        with pytest.raises(LogDamaged):
            Header.parse(bytes(flipped))
        return

    assert follow(bytes(flipped)).frames == (position - HEADER_BYTES) // log.frame_bytes


@given(data=st.data())
def test_a_flipped_bit_before_the_last_two_transactions_is_known_for_damage(log: Log, data: st.DataObject) -> None:
    settled = HEADER_BYTES + log.commits[-3] * log.frame_bytes
    position = data.draw(st.integers(HEADER_BYTES, settled - 1))
    flipped = bytearray(log.data)
    flipped[position] ^= 1 << data.draw(st.integers(0, 7))

    assert follow(bytes(flipped), data.draw(st.integers(1, 20))).is_damaged


@given(data=st.data())
def test_a_log_cut_anywhere_is_torn_and_not_damaged(log: Log, data: st.DataObject) -> None:
    length = data.draw(st.integers(HEADER_BYTES, len(log.data)))
    chain = follow(log.data[:length])

    whole = (length - HEADER_BYTES) // log.frame_bytes
    assert not chain.is_damaged
    assert chain.committed == max((commit for commit in log.commits if commit <= whole), default=0)


@given(data=st.data())
def test_a_power_cut_may_leave_any_part_of_the_last_transaction(log: Log, data: st.DataObject) -> None:
    """Its sectors reach the disk in any order; those that did not are zeros."""
    begin = HEADER_BYTES + log.commits[-2] * log.frame_bytes
    sectors = range(begin, len(log.data), 512)
    torn = bytearray(log.data)
    for start in data.draw(st.sets(st.sampled_from(sectors), min_size=1)):
        end = min(start + 512, len(torn))
        torn[start:end] = bytes(end - start)
    chain = follow(bytes(torn))

    assert not chain.is_damaged
    assert chain.committed in (log.commits[-2], log.commits[-1])


def test_what_two_failed_commits_have_left_behind_is_no_damage(log: Log) -> None:
    """Each wrote its frames over the other's and was undone; the log's end is the commit before them."""
    begin, middle = log.commits[-3], log.commits[-2]
    start, end = (HEADER_BYTES + frame * log.frame_bytes for frame in (begin, middle))
    other = bytearray(log.data[start:end])
    for position in range(FRAME_HEADER_BYTES, len(other), log.frame_bytes):
        other[position] ^= 0xFF
    overwritten = rewrite(bytes(log.data[:start]), bytes(other), log)

    chain = follow(overwritten + log.data[end:])

    assert chain.committed == middle  # SQLite takes such a transaction for committed, and so it must count
    assert not chain.is_damaged


def test_what_the_disk_held_before_is_no_commit(log: Log) -> None:
    """A sector that never arrived ends within the head of a frame whose other part did: its size looks like a commit's."""
    begin = HEADER_BYTES + log.commits[-2] * log.frame_bytes
    torn = bytearray(log.data)
    torn[begin : begin + log.frame_bytes + 8] = b"\xda" * (log.frame_bytes + 8)
    chain = Chain(Header.parse(log.data), pages=log.frames)
    chain.feed(torn[HEADER_BYTES:])

    assert log.commits[-1] - log.commits[-2] > 2
    assert chain.committed == log.commits[-2]
    assert not chain.is_damaged


def rewrite(before: bytes, frames: bytes, log: Log) -> bytes:
    """Return ``before`` and ``frames``, whose checksums are made to continue it."""
    header = Header.parse(log.data)
    data = bytearray(before + frames)
    last = struct.unpack(">2I", data[len(before) - log.frame_bytes + 16 :][:8])
    for start in range(len(before), len(data), log.frame_bytes):
        last = plain_checksum(header, last, bytes(data[start : start + log.frame_bytes]))
        data[start + 16 : start + 24] = struct.pack(">2I", *last)
    return bytes(data)


def plain_checksum(header: Header, before: tuple[int, ...], frame: bytes) -> tuple[int, int]:
    """The definition, word by word."""
    s, t = before
    for a, b in struct.iter_unpack(f"{header.byte_order}2I", frame[:8] + frame[FRAME_HEADER_BYTES:]):
        s = (s + a + t) % 2**32
        t = (t + b + s) % 2**32
    return s, t


@given(
    byte_order=st.sampled_from("<>"),
    page_bytes=st.sampled_from([512, 1024, 4096, 65536]),
    seed=st.integers(0, 2**32 - 1),
    frames=st.integers(1, 4),
)
def test_the_product_of_weights_is_the_definition(byte_order: str, page_bytes: int, seed: int, frames: int) -> None:
    source = random.Random(seed)
    last = source.getrandbits(32), source.getrandbits(32)
    header = Header(byte_order=byte_order, page_bytes=page_bytes, salts=(seed, 1), checksum=last)
    data = b""
    for number in range(frames):
        head = struct.pack(">4I", source.getrandbits(32), number, *header.salts)
        page = source.randbytes(page_bytes)
        last = plain_checksum(header, last, head + bytes(8) + page)
        data += head + struct.pack(">2I", *last) + page
    chain = Chain(header)
    chain.feed(data)

    assert chain.frames == frames


@given(st.binary(max_size=64))
def test_no_bytes_make_the_header_raise_anything_else(data: bytes) -> None:
    with pytest.raises(LogDamaged):
        Header.parse(data)
