"""The index of an LTX file: of each page its number, the place of its frame and the frame's length, as LEB128 numbers."""

from __future__ import annotations

from engine.ltx.limits import INDEX_LENGTH_BYTES


def entry(number: int, offset: int, size: int) -> bytes:
    """Return one page's entry."""
    return _varint(number) + _varint(offset) + _varint(size)


def ending(entries_bytes: int) -> bytes:
    """Return what follows the entries: a zero, and the length of both."""
    return b"\0" + (entries_bytes + 1).to_bytes(INDEX_LENGTH_BYTES, "big")


def _varint(number: int) -> bytes:
    """Return ``number`` seven bits at a time, the lowest first, the highest bit saying that more follow."""
    # Nearly all numbers are as small as these, and there are three for each page.
    if number < 1 << 7:
        return bytes((number,))
    if number < 1 << 14:
        return bytes((number & 0x7F | 0x80, number >> 7))
    if number < 1 << 21:
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:  # as most are: without a loop it takes half the time
        return bytes((number & 0x7F | 0x80, number >> 7))
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
