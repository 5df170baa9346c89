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

    It holds what was put in and not yet taken out: a reader that stops reading while it takes no frames holds at most one
    incomplete frame and one read. A length over the limit raises before that frame is waited for.
    """

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self._frame_bytes_max = frame_bytes_max

    def feed(self, data: bytes) -> list[bytes]:
        """Take ``data`` and return all frames it completes, in order."""
        self.put(data)
        frames: list[bytes] = []
        while (frame := self.take()) is not None:
            frames.append(frame)
        return frames

    def put(self, data: bytes) -> None:
        """Take ``data``, whose frames ``take`` returns."""
        self._buffer += data

    def take(self) -> bytes | None:
        """Return the next frame; ``None`` until the rest of it has come."""
        buffer = self._buffer
        if len(buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(buffer)
        if length > self._frame_bytes_max:
            raise FrameError(f"a frame of {length} bytes is over the limit of {self._frame_bytes_max}")
        end = _LENGTH.size + length
        if len(buffer) < end:
            return None
        frame = bytes(memoryview(buffer)[_LENGTH.size : end])
        del buffer[:end]  # cheap: a bytearray moves its start, not its bytes
        return frame
