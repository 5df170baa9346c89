"""What an API key looks like."""

from __future__ import annotations

import re
import zlib

from hypothesis import given
from hypothesis import strategies as st

from tenants.registry import api_key

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def test_a_key_has_its_form_and_its_checksum() -> None:
    key = api_key.generate()
    value = 0
    for character in key[-6:]:
        value = value * 62 + _ALPHABET.index(character)

    assert re.fullmatch(r"ek_live_[0-9A-Za-z]{36}", key)
    assert value == zlib.crc32(key[:-6].encode())
    assert api_key.is_well_formed(key)


@given(st.integers(8, 43), st.sampled_from(_ALPHABET))
def test_one_wrong_character_is_always_noticed(position: int, character: str) -> None:
    key = api_key.generate()
    typo = key[:position] + character + key[position + 1 :]

    assert api_key.is_well_formed(typo) == (typo == key)


@given(st.text(max_size=60))
def test_any_other_text_is_no_key(text: str) -> None:
    assert not api_key.is_well_formed(text)
    assert not api_key.is_well_formed(api_key.PREFIX + text)


def test_swapped_neighbours_are_noticed() -> None:
    key = api_key.generate()
    for position in range(8, 43):
        swapped = key[:position] + key[position + 1] + key[position] + key[position + 2 :]
        assert api_key.is_well_formed(swapped) == (swapped == key)


def test_a_digest_depends_on_the_pepper() -> None:
    key = api_key.generate()

    assert api_key.digest(key, b"one") != api_key.digest(key, b"two")
    assert key not in repr(api_key.digest(key, b"one"))
