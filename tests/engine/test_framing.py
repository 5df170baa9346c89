"""Framing: however a stream is cut, the same frames come out, and nothing over the limit is kept."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.protocol.framing import FrameDecoder, FrameError, encode_frame
from engine.protocol.limits import FRAME_BYTES_MAX


@given(st.lists(st.binary(max_size=300)), st.data())
def test_frames_survive_any_cut(payloads: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(encode_frame(payload) for payload in payloads)
    decoder = FrameDecoder()
    received: list[bytes] = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        received += decoder.feed(stream[:cut])
        stream = stream[cut:]

    assert received == payloads


def test_a_length_over_the_limit_is_refused_before_its_bytes_arrive() -> None:
    with pytest.raises(FrameError):
        FrameDecoder().feed(struct.pack(">I", FRAME_BYTES_MAX + 1))


def test_a_frame_over_the_limit_is_not_sent() -> None:
    with pytest.raises(FrameError):
        encode_frame(bytes(FRAME_BYTES_MAX + 1))


def test_a_cut_frame_waits_for_its_rest() -> None:
    decoder = FrameDecoder()
    frame = encode_frame(b"abc")

    assert decoder.feed(frame[:-1]) == []
    assert decoder.feed(frame[-1:]) == [b"abc"]
