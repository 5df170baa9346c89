"""Frames: a u32 big-endian length, then that many bytes of msgpack. Bytes in, frames out; no I/O."""

from __future__ import annotations

from struct import Struct

from engine.protocol.limits import FRAME_BYTES_MAX

_LENGTH = Struct(">I")


class FrameError(Exception):
    """The peer broke the framing. Nothing after this point can be trusted: close the connection."""


def encode_frame(payload: bytes) -> bytes:
    """Return ``payload`` as one frame. ``FrameError`` if it is over ``FRAME_BYTES_MAX``: split it, the peer would hang up."""
    if len(payload) > FRAME_BYTES_MAX:
        raise FrameError(f"a frame of {len(payload)} bytes is over the limit of {FRAME_BYTES_MAX}")
    return _LENGTH.pack(len(payload)) + payload


class FrameDecoder:
    """Turns a byte stream cut anywhere into the frames it was made of.

    It holds at most one incomplete frame; a length over the limit raises before a byte of that frame is kept.
    """

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self._frame_bytes_max = frame_bytes_max

    def feed(self, data: bytes) -> list[bytes]:
        """Take ``data`` and return the frames it completes, in order."""
        buffer = self._buffer
        buffer += data
        frames: list[bytes] = []
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if length > self._frame_bytes_max:
                raise FrameError(f"a frame of {length} bytes is over the limit of {self._frame_bytes_max}")
            end = start + _LENGTH.size + length
            if len(buffer) < end:
                break
            frames.append(bytes(buffer[start + _LENGTH.size : end]))
            start = end
        if start:
            del buffer[:start]
        return frames
