"""Slips of the finger: what is near, what is not, and where to look for it."""

from __future__ import annotations

from string import ascii_lowercase

import apsw
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.recall.spelling import beginnings, edits, edits_max, nearest
from engine.store.tokenizer import Tokenizer

tokenize = Tokenizer(apsw.Connection(":memory:"))
letters = st.sampled_from(ascii_lowercase)
words = st.text(letters, min_size=4, max_size=12)


def stem_of(word: str) -> str:
    return "".join(tokenize.stems(word))


def near(word: str, *vocabulary: str) -> list[str]:
    return nearest(word, [(stem_of(known), 1) for known in vocabulary], stem_of)


@pytest.mark.parametrize(
    ("word", "known", "found"),
    [
        ("kuberentes", "kubernetes", "kubernetes"),
        ("databse", "database", "database"),
        ("deploymnet", "deployment", "deployment"),
        ("runing", "running", "running"),
        ("compnay", "company", "company"),
        ("freind", "friend", "friend"),
        ("acommodation", "accommodation", "accommodation"),
    ],
)
def test_the_word_that_was_meant_is_found_by_its_stem(word: str, known: str, found: str) -> None:
    assert found in near(word, known, "unrelated", "something", "banana")


@pytest.mark.parametrize(
    ("word", "other"),
    [
        ("planet", "plan"),
        ("november", "novel"),
        ("prominent", "promise"),
        ("conducting", "rejecting"),
        ("house", "moose"),
    ],
)
def test_another_word_is_not_near(word: str, other: str) -> None:
    assert near(word, other) == []


@pytest.mark.parametrize("word", ["cat", "e4012", "abc123def", "x" * 33, "", "2023", "naïve-te"])
def test_short_words_and_names_with_digits_hold_no_slip(word: str) -> None:
    assert edits_max(word) == 0


def test_the_nearest_come_alone_and_the_frequent_first() -> None:
    stems = [("marin", 2), ("market", 9), ("marked", 3), ("markup", 50)]

    assert nearest("markit", stems, lambda form: form) == ["market"]
    assert nearest("marke", stems, lambda form: form) == ["market", "marked"]


@given(words, st.integers(0, 11), letters, st.sampled_from(["swap", "leave out", "put in", "replace"]))
def test_one_slip_is_one_edit_and_the_word_that_was_meant_is_looked_up(word: str, at: int, letter: str, slip: str) -> None:
    """A wrong or missing first letter is not looked up: most such words are others that exist."""
    at %= len(word) - 1
    assume(slip == "swap" or at > 0)
    typed = {
        "swap": word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        "leave out": word[:at] + word[at + 1 :],
        "put in": word[:at] + letter + word[at:],
        "replace": word[:at] + letter + word[at + 1 :],
    }[slip]
    assume(typed != word and len(typed) >= 4)

    assert edits(typed, word, 2) == 1
    assert any(word.startswith(beginning) for group in beginnings(typed) for beginning in group)


@given(words, words, st.integers(0, 3))
def test_the_bound_only_saves_work(first: str, second: str, most: int) -> None:
    exact = edits(first, second, 99)

    assert edits(second, first, 99) == exact
    assert edits(first, second, most) == exact or min(edits(first, second, most), exact) > most
