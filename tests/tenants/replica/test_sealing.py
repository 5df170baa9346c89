"""The sealed form of objects: what was sealed comes back, and nothing else does."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tenants.replica.sealing import ControlSealing, KeyUnavailable, Master, Tampered, stream
from tenants.replica.sealing.sealed_metadata import KEY_ID, seal_metadata, unseal_metadata
from tenants.replica.sealing.stream import CHUNK_BYTES, HEADER_BYTES, TAG_BYTES

KEY, KEY_ID_HERE = bytes(range(32)), "0123456789abcdef"
NAME = b"db_a\0tenants/db_a/ltx/0000/1-1.ltx"
SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES


def key_of(key_id: str) -> bytes:
    if key_id != KEY_ID_HERE:
        raise Tampered("no such key")
    return KEY


def sealed(content: bytes, *, name: bytes = NAME) -> bytes:
    return b"".join(stream.seal(KEY, KEY_ID_HERE, name, [content]))


def unsealed(content: bytes, *, name: bytes = NAME) -> bytes:
    return b"".join(stream.unseal(key_of, name, [content]))


def in_pieces(content: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = 0
    for size in sizes:
        yield content[at : at + size]
        at += size
    yield content[at:]


sizes = st.one_of(
    st.integers(0, 300),
    st.integers(-3, 3).map(lambda near: CHUNK_BYTES + near),
    st.integers(-3, 3).map(lambda near: 3 * CHUNK_BYTES + near),
    st.integers(0, 5 * CHUNK_BYTES),
)
cuts = st.lists(st.integers(0, 2 * CHUNK_BYTES), max_size=8)


@settings(deadline=None)
@given(size=sizes, given=cuts, taken=cuts)
@example(size=0, given=[], taken=[])
@example(size=CHUNK_BYTES, given=[0, 0], taken=[1] * 70)
def test_what_was_sealed_comes_back_in_whatever_pieces(size: int, given: list[int], taken: list[int]) -> None:
    content = os.urandom(size)

    form = b"".join(stream.seal(KEY, KEY_ID_HERE, NAME, in_pieces(content, given)))

    assert b"".join(stream.unseal(key_of, NAME, in_pieces(form, taken))) == content
    chunks = max(1, -(-size // CHUNK_BYTES))
    assert len(form) == HEADER_BYTES + size + chunks * TAG_BYTES


@settings(deadline=None)
@given(size=st.integers(0, 3 * CHUNK_BYTES), data=st.data())
def test_a_flipped_bit_is_found(size: int, data: st.DataObject) -> None:
    form = bytearray(sealed(os.urandom(size)))
    at = data.draw(st.integers(0, len(form) - 1) | st.integers(0, HEADER_BYTES - 1))
    form[at] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(Tampered):
        unsealed(bytes(form))


@settings(deadline=None)
@given(size=st.integers(1, 3 * CHUNK_BYTES), data=st.data())
def test_what_was_cut_short_is_found(size: int, data: st.DataObject) -> None:
    form = sealed(os.urandom(size))
    boundaries = [HEADER_BYTES + number * SEALED_CHUNK_BYTES for number in range(4)]
    length = data.draw(st.integers(0, len(form) - 1) | st.sampled_from([at for at in boundaries if at < len(form)]))

    with pytest.raises(Tampered):
        unsealed(form[:length])


def test_a_small_object_cut_at_any_byte_is_found() -> None:
    form = sealed(b"content")

    for length in range(len(form)):
        with pytest.raises(Tampered):
            unsealed(form[:length])


@settings(deadline=None)
@given(tail=st.binary(min_size=1, max_size=100))
def test_what_was_added_is_found(tail: bytes) -> None:
    for content in (b"", b"content", bytes(CHUNK_BYTES)):
        with pytest.raises(Tampered):
            unsealed(sealed(content) + tail)


@given(order=st.permutations(range(4)))
def test_chunks_that_change_places_are_found(order: list[int]) -> None:
    form = sealed(bytes(4 * CHUNK_BYTES))  # so they are of one size, and of one content
    chunks = [form[HEADER_BYTES + at * SEALED_CHUNK_BYTES :][:SEALED_CHUNK_BYTES] for at in range(4)]
    moved = form[:HEADER_BYTES] + b"".join(chunks[number] for number in order)

    if order == sorted(order):
        assert unsealed(moved) == bytes(4 * CHUNK_BYTES)
    else:
        with pytest.raises(Tampered):
            unsealed(moved)


def test_a_chunk_of_another_object_is_found() -> None:
    one, other = sealed(bytes(3 * CHUNK_BYTES)), sealed(bytes(3 * CHUNK_BYTES))
    at = HEADER_BYTES + SEALED_CHUNK_BYTES

    with pytest.raises(Tampered):
        unsealed(one[:at] + other[at : at + SEALED_CHUNK_BYTES] + one[at + SEALED_CHUNK_BYTES :])


def test_a_chunk_that_was_left_out_is_found() -> None:
    form = sealed(bytes(3 * CHUNK_BYTES))
    at = HEADER_BYTES + SEALED_CHUNK_BYTES

    with pytest.raises(Tampered):
        unsealed(form[:at] + form[at + SEALED_CHUNK_BYTES :])


def test_an_object_at_anothers_place_is_found() -> None:
    with pytest.raises(Tampered):
        unsealed(sealed(b"content"), name=NAME.replace(b"1-1", b"2-2"))


def test_nothing_is_handed_on_before_it_was_checked() -> None:
    form = bytearray(sealed(bytes(3 * CHUNK_BYTES)))
    form[HEADER_BYTES + SEALED_CHUNK_BYTES + 7] ^= 1
    pieces = stream.unseal(key_of, NAME, [bytes(form)])

    assert next(pieces) == bytes(CHUNK_BYTES)
    with pytest.raises(Tampered):
        next(pieces)


def test_the_sealed_form_shows_nothing_and_is_never_the_same() -> None:
    content = b"a memory that nobody else should read. " * 5000

    one, other = sealed(content), sealed(content)

    assert content[:16] not in one
    assert one[20:] != other[20:]
    assert one[HEADER_BYTES : HEADER_BYTES + 64] != other[HEADER_BYTES : HEADER_BYTES + 64]


def test_a_plain_file_is_no_sealed_object() -> None:
    with pytest.raises(Tampered):
        unsealed(b"LTX1" + bytes(200))


metadata = st.dictionaries(st.text(max_size=20), st.text(max_size=40), max_size=8)


@given(known=metadata)
def test_metadata_come_back(known: dict[str, str]) -> None:
    form = seal_metadata(KEY, KEY_ID_HERE, NAME, known)

    assert unseal_metadata(key_of, NAME, form) == known
    assert form.keys() == {KEY_ID, "engram-sealed"}


@given(known=metadata, data=st.data())
def test_metadata_that_were_changed_are_found(known: dict[str, str], data: st.DataObject) -> None:
    form = seal_metadata(KEY, KEY_ID_HERE, NAME, known)
    text = form["engram-sealed"]
    at = data.draw(st.integers(0, len(text) - 5))  # the last four hold bits that mean nothing
    changed = text[:at] + ("B" if text[at] == "A" else "A") + text[at + 1 :]
    for spoiled in ({"engram-sealed": changed}, {"engram-sealed": text[:at]}, {KEY_ID: "other"}):
        with pytest.raises(Tampered):
            unseal_metadata(key_of, NAME, form | spoiled)
    with pytest.raises(Tampered):
        unseal_metadata(key_of, NAME + b"0", form)
    with pytest.raises(Tampered):
        unseal_metadata(key_of, NAME, {KEY_ID: KEY_ID_HERE})


def test_the_control_plane_is_sealed_with_the_master_key_alone() -> None:
    one, same, other = (ControlSealing(Master(key * 32)) for key in (b"a", b"a", b"b"))
    form = list(one.seal("control/1", [b"content"]))

    assert b"".join(same.unseal("control/1", one.metadata(), form)) == b"content"
    with pytest.raises(Tampered):
        list(same.unseal("control/2", one.metadata(), form))
    with pytest.raises(KeyUnavailable, match="ENGRAM_MASTER_KEY"):
        list(other.unseal("control/1", one.metadata(), form))
    with pytest.raises(Tampered, match="plain"):
        list(one.unseal("control/1", {}, [b"content"]))


def test_a_master_key_has_a_length() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Master(b"short")
