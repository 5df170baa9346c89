"""The estimate of tokens: never far below a real tokenizer, and safe to add up."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from engine.recall.tokens import TOKEN_CHARACTERS_MAX, estimate, fit

texts = st.text(alphabet=st.one_of(st.sampled_from("abcXYZ019 \n\t.,é用🙂"), st.characters()), max_size=200)

CHAT = (
    "Caroline: Hey Mel! Good to see you, I went to a support group yesterday and it was so powerful. The transgender stories"
    " were inspiring, and I was happy and thankful for all the support I got there."
)
PROSE = (
    "Every request travels one way. The gateway embeds what has to be embedded, calls the engine of that customer and meters"
    " what was done; an engine that nobody asks anything goes to sleep after 300 seconds, and wakes in 20 ms."
)
CODE = (
    'def page(connection, limit: int = 500) -> list[Row]:\n    return connection.execute("SELECT * FROM t LIMIT ?", (limit,))\n'
)
CHINESE = "我们决定在季度末之前把数据库迁移到新的数据中心，因为旧机房的租约即将到期。"
RUSSIAN = "Мы решили перенести базу данных в новый центр до конца квартала, потому что аренда заканчивается."


@pytest.fixture(scope="module")
def tokenizer(models: Path) -> Tokenizer:
    (path,) = models.glob("*+int8/tokenizer.json")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@pytest.mark.parametrize("text", [CHAT, PROSE, CODE, CHINESE, RUSSIAN])
def test_the_estimate_is_a_little_high(tokenizer: Tokenizer, text: str) -> None:
    """As measured in the module's docstring, with room for what one short text may deviate."""
    real = len(tokenizer.encode(text, add_special_tokens=False).ids)

    assert real <= estimate(text) <= 1.35 * real


@given(texts, texts)
@example("x" * 5, "y" * 5)
@example(" " * 20, " " * 20)
def test_texts_joined_never_count_more_than_apart(one: str, other: str) -> None:
    assert estimate(one + other) <= estimate(one) + estimate(other)


@given(texts)
def test_no_token_holds_more_characters_than_we_say(text: str) -> None:
    assert len(text) <= estimate(text) * TOKEN_CHARACTERS_MAX


@given(texts, st.integers(0, 60))
@example("\U00010000", 1)
def test_what_fits_is_no_more_than_was_asked_for(text: str, tokens: int) -> None:
    end = fit(text, tokens)

    assert 0 <= end <= len(text)
    assert estimate(text[:end]) <= tokens
    if estimate(text) <= tokens:
        assert end == len(text)


@given(st.lists(st.text("abcdef", min_size=1, max_size=12), min_size=1, max_size=60), st.integers(2, 60))
def test_words_are_not_cut(words: list[str], tokens: int) -> None:
    text = " ".join(words)

    assert text[: fit(text, tokens)].split() == words[: len(text[: fit(text, tokens)].split())]


def test_a_cut_uses_the_room() -> None:
    text = "memory " * 200

    assert 90 <= estimate(text[: fit(text, 100)]) <= 100


def test_one_endless_word_is_cut() -> None:
    assert estimate("x" * 1000) == 167
    assert fit("x" * 1000, 10) == 30
