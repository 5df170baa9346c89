"""How much memory an answer would take: a byte of MessagePack can be a list of 72. Refuses what no honest server sends.

The largest answer that is one, 500 memories whose metadata are nothing but nested lists, holds under four million lists and
objects, so what is no longer than that needs no look. Of the rest almost all is text, and passes by counting bytes.
"""

from __future__ import annotations

from engine.protocol.limits import CONTAINERS_MAX

_CONTAINER_HEADERS = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])
"""Fixmap, fixarray, array16, array32, map16, map32."""

_VALUES_MAX = 2 * CONTAINERS_MAX

_FIXED_SIZES = dict.fromkeys((0xC0, 0xC2, 0xC3), 0) | {
    0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
    0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip
"""Bytes that follow the first: nil, booleans, floats, integers, fixext."""

_COUNTED_SIZES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4}
"""Bytes of the length that follows the first: binary, text, ext."""

_EXTENSIONS = (0xC7, 0xC8, 0xC9)


def is_too_heavy(data: bytes) -> bool:
    """Whether ``data``, which need not be well-formed, may decode to more than ``CONTAINERS_MAX`` lists and objects."""
    if len(data) <= CONTAINERS_MAX:
        return False
    if len(data) - len(data.translate(None, _CONTAINER_HEADERS)) <= CONTAINERS_MAX:
        return False
    return exceeds(data, containers=CONTAINERS_MAX, values=_VALUES_MAX)


def exceeds(data: bytes, *, containers: int, values: int) -> bool:
    """Walk over the values until there are too many. Texts are stepped over, so an honest answer has few steps."""
    position = 0
    end = len(data)
    while position < end:
        first = data[position]
        position += 1
        values -= 1
        if first < 0x80 or first >= 0xE0:
            continue
        if first < 0xA0 or first >= 0xDC:
            containers -= 1
            if first >= 0xDC:
                position += 2 if first in (0xDC, 0xDE) else 4
        elif first < 0xC0:
            position += first & 0x1F
        elif (fixed := _FIXED_SIZES.get(first)) is not None:
            position += fixed
        elif (size := _COUNTED_SIZES.get(first)) is not None:
            position += size + int.from_bytes(data[position : position + size], "big") + (first in _EXTENSIONS)
        else:
            return False  # 0xC1 is nothing; whoever decodes it says so
        if containers < 0 or values < 0:
            return True
    return False
