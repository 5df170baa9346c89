"""Cutting a JSON array into its elements gives what decoding it would give."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.json_array import elements

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(VALUES, max_size=8), st.sampled_from([None, 1]), st.booleans())
def test_the_elements_are_those_of_the_array(values: list[Any], indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    assert [json.loads(element.decode("utf-8", "surrogatepass")) for element in elements(memoryview(text))] == values


@pytest.mark.parametrize("text", [b"[]", b"[ ]", b"[\n\t]"])
def test_an_empty_array_has_none(text: bytes) -> None:
    assert list(elements(memoryview(text))) == []


def test_strings_may_hold_anything() -> None:
    text = rb'["a\"],[{", "\\", {"k\\\"}": "]"}]'

    assert list(elements(memoryview(text))) == [rb'"a\"],[{"', rb'"\\"', rb'{"k\\\"}": "]"}']
