"""Spans cover their text, fit the model and are cut where it hurts least."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.embedder.chunker import Span, Token, spans
from engine.embedder.model import Model

MAX = 24
OVERLAP = 4


def tokenize(text: str) -> list[Token]:
    """Cut words into pieces of three characters: a small stand-in with the same form as a real tokenizer's answer."""
    tokens = []
    for word, match in enumerate(re.finditer(r"\w+|[^\w\s]", text)):
        for start in range(match.start(), match.end(), 3):
            tokens.append(Token(start, min(start + 3, match.end()), word))
    return tokens


def cut(text: str) -> list[Span]:
    return spans(text, tokenize(text), tokens_max=MAX, overlap=OVERLAP)


def texts() -> st.SearchStrategy[str]:
    words = st.one_of(
        st.text("abcdefgäöß", min_size=1, max_size=12),
        st.text("abc", min_size=60, max_size=90),  # longer than a span
        st.sampled_from(["end.", "really?", "“quoted.”", "猫坐在垫子上。", "👩‍👩‍👧", "cafe\u0301", "e.g.", "-", "\x00"]),
    )
    gaps = st.sampled_from([" ", " ", " ", "  ", "\n", "\n\n", "\t", ""])
    return st.lists(st.tuples(words, gaps), max_size=120).map(lambda parts: "".join(word + gap for word, gap in parts))


@given(texts())
def test_spans_fit_advance_and_cover_everything(text: str) -> None:
    tokens = tokenize(text)
    found = cut(text)

    assert all(span.tokens <= MAX for span in found)
    for before, after in itertools.pairwise(found):
        assert before.start < after.start
        assert before.end < after.end
        assert text[before.end : after.start].strip() == ""  # nothing but blanks lies between two spans
        assert len([token for token in tokens if after.start <= token.start and token.end <= before.end]) <= OVERLAP
    assert found[0].start == 0
    assert text[found[-1].end :].strip() == ""
    for token in tokens:
        assert any(span.start <= token.start and token.end <= span.end for span in found)


@given(texts())
def test_a_word_that_fits_is_never_cut(text: str) -> None:
    fitting = {match.span() for match in re.finditer(r"\w+", text) if len(match.group()) <= MAX * 3}
    for span in cut(text):
        for start, end in fitting:
            assert not start < span.start < end
            assert not start < span.end < end


@given(st.text(max_size=30))
def test_a_short_text_is_one_span(text: str) -> None:
    if len(tokenize(text)) <= MAX:
        assert [(0, len(text))] == [(span.start, span.end) for span in cut(text)]


def test_characters_of_several_tokens_are_not_split() -> None:
    """As byte-level tokenizers have it: four tokens, one emoji."""
    text = "🦊" * 40
    tokens = [Token(index, index + 1, None) for index in range(40) for _ in range(4)]

    found = spans(text, tokens, tokens_max=30, overlap=6)

    assert all(span.tokens % 4 == 0 for span in found)
    assert found[-1].end == 40


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        ("one two three four five six seven eight nine tens.", "\n\nAa bb. Cc\ndd ee ff gg hh ii jj kk ll"),
        ("one two three four five six seven eight nine tens aa", "\nbb. Cc dd ee ff gg hh ii jj kk ll mm nn"),
        ("one two three four five six seven eight nine tens.", " Aa bb cc dd ee ff gg hh ii jj kk ll mm nn"),
        ("one two three four five six seven eight nine aa bb cc dd ee ff gg hh ii", " jj kk ll mm nn"),
    ],
    ids=["paragraph", "line", "sentence", "word"],
)
def test_a_cut_prefers_the_end_of_a_paragraph_to_that_of_a_line_a_sentence_a_word(first: str, rest: str) -> None:
    text = first + rest

    assert first == text[: cut(text)[0].end]


def test_the_overlap_begins_with_a_sentence_where_there_is_one() -> None:
    text = "one two three four five six seven eight nine. Aa. " + "bb " * 30

    assert text[cut(text)[1].start :].startswith("Aa. bb")


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(
        st.one_of(
            st.text(max_size=40),
            st.sampled_from(
                [
                    "The deploy keys are rotated monthly. ",
                    "猫坐在垫子上。" * 9,
                    "👩‍👩‍👧🏽 ",
                    "cafe\u0301 ",
                    "n\u0303" * 30,
                    "x" * 150,
                    "\n\n",
                ]
            ),
        ),
        max_size=40,
    ),
    repeat=st.integers(1, 12),
)
def test_what_the_real_tokenizer_makes_of_each_span_fits_the_model(model: Model, parts: list[str], repeat: int) -> None:
    text = "".join(parts) * repeat
    (found,) = model.spans([text])
    passages = [text[span.start : span.end] for span in found]

    assert all(span.tokens <= 254 for span in found)
    assert all(len(again) == 1 for again in model.spans(passages))  # each is short enough to be one span
    for before, after in itertools.pairwise(found):
        assert text[before.end : after.start].strip() == ""
