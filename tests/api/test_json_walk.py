"""Walking through a JSON text gives what decoding it would give, and takes nothing that decoding would refuse."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.json_walk import JsonWalk, NotJson, TooLarge

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
LIMIT = 1 << 20


def elements(text: bytes) -> list[Any]:
    walk = JsonWalk(text)
    found = [msgspec.json.decode(walk.take(LIMIT)) for _ in walk.elements()]
    walk.finish()
    return found


def members(text: bytes) -> dict[str, Any]:
    walk = JsonWalk(text)
    found = {key: msgspec.json.decode(walk.take(LIMIT)) for key in walk.members()}
    walk.finish()
    return found


@given(st.lists(VALUES, max_size=8), st.sampled_from([None, 1]), st.booleans())
def test_the_elements_are_those_of_the_array(values: list[Any], indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only)

    assert elements(text.encode()) == json.loads(text)


@given(st.dictionaries(st.text(), VALUES, max_size=8), st.sampled_from([None, 1]), st.booleans())
def test_the_members_are_those_of_the_object(values: dict[str, Any], indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only)

    assert members(text.encode()) == json.loads(text)


@given(st.dictionaries(st.text(), VALUES, min_size=1, max_size=8))
def test_what_is_skipped_is_passed_over_exactly(values: dict[str, Any]) -> None:
    walk = JsonWalk(json.dumps(values).encode())
    keys = []
    for key in walk.members():
        keys.append(key)
        walk.skip()
    walk.finish()

    assert keys == list(values)


@given(st.text(alphabet='{}[]",:\\ab1 ', max_size=24))
def test_nothing_is_taken_that_a_decoder_refuses(text: str) -> None:
    """Small texts of JSON's own marks: the walk and msgspec agree on which of them are arrays or objects."""
    for walk, kind in ((elements, list), (members, dict)):
        try:
            expected = msgspec.json.decode(text, type=kind)
        except msgspec.DecodeError:
            with pytest.raises((NotJson, msgspec.DecodeError)):
                walk(text.encode())
        else:
            assert walk(text.encode()) == expected


@pytest.mark.parametrize("text", [b"", b"[", b"[1", b"[1,", b"[1 2]", b"[,1]", b"[1,]", b"[}", b"[{]}", b'["', b"[1]]", b"1"])
def test_a_broken_array_is_refused(text: bytes) -> None:
    with pytest.raises((NotJson, msgspec.DecodeError)):
        elements(text)


def test_strings_may_hold_anything() -> None:
    assert elements(rb'["a\"],[{", "\\", {"k\\\"}": "]"}]') == ['a"],[{', "\\", {'k\\"}': "]"}]


@pytest.mark.parametrize("value", ['"' + "x" * 98 + '"', "[" + "1," * 48 + "11]", "1" * 100])
def test_a_value_may_be_just_as_long_as_allowed(value: str) -> None:
    text = f"[{value}]".encode()
    walk = JsonWalk(text)
    next(walk.elements())
    assert walk.take(len(value)) == value.encode()

    walk = JsonWalk(text)
    next(walk.elements())
    with pytest.raises(TooLarge):
        walk.take(len(value) - 1)


def test_nesting_costs_no_stack() -> None:
    deep = b"[" * 200_000 + b"]" * 200_000
    walk = JsonWalk(b"[" + deep + b"]")
    next(walk.elements())

    assert walk.take(LIMIT) == deep
