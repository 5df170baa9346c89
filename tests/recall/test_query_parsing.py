"""The query: whatever is typed, FTS5 understands it, and what matters in it is kept."""

from __future__ import annotations

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.recall.query import PHRASES_MAX, TERMS_MAX, Query, parse

CONTENTS = (
    "where is node.js mentioned",
    "src/main.rs holds the flags",
    "Hector Quiñones, zürich",
    "to be or not to be",
    "日本 2023-05-08",
)


@pytest.fixture(scope="module")
def index() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE VIRTUAL TABLE f USING fts5 (content, tags, tokenize = 'porter unicode61 remove_diacritics 2')")
    for content in CONTENTS:
        connection.execute("INSERT INTO f VALUES (?, '[]')", (content,))
    return connection


def found(index: apsw.Connection, match: str) -> list[str]:
    return [row[0] for row in index.execute("SELECT content FROM f WHERE f MATCH ? ORDER BY bm25(f)", (match,))]


syntax = st.lists(
    st.sampled_from(['"', "'", "*", "^", "(", ")", "NEAR", "AND", "OR", "NOT", "{", "}", ":", "-", "+", "a", "\0", "“", " "])
)


@given(
    st.one_of(st.text(), syntax.map("".join), syntax.map(" ".join), st.text(st.characters(categories=["Cs", "Co", "Mn", "So"])))
)
@example('"')
@example('content : "a" NOT tags:b* ^c NEAR(d e, 2)')
@example("nul\0in the middle")
@example("👩‍👩‍👧 🎉")
@example("word " * 10_000)
@example(" ".join(f"w{n}.x" for n in range(10_000)))
@example("a" * 100_000)
@example("\ud800 x")
def test_no_text_is_an_error_for_fts5(index: apsw.Connection, text: str) -> None:
    query = parse(text)

    assert len(query.terms) <= TERMS_MAX
    assert len(query.phrases) <= PHRASES_MAX
    assert len({term.lower() for term in query.terms}) == len(query.terms)
    assert query.is_empty == (query.match == "")
    for match in (query.match, *query.term_matches):
        if match:
            found(index, match)


@pytest.mark.parametrize("text", ["", " \n", "?!…", "🎉🎉", '""', "\0", "_ _"])
def test_a_text_without_letters_and_digits_is_an_empty_query(text: str) -> None:
    assert Query() == parse(text)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("What did we decide about the database?", ("decide", "database")),
        ("who am I", ("who", "am", "I")),
        ("Rust rust RUST", ("Rust",)),
        ("Ana's dog doesn't bark, they're told", ("Ana", "dog", "bark", "told")),
        ("don't", ("don", "t")),
        ("vitamin D", ("vitamin", "D")),
        ("Quin\u0303ones", ("Quiñones",)),
        ("snake_case", ("snake", "case")),
    ],
)
def test_terms_are_the_telling_words_in_order(text: str, terms: tuple[str, ...]) -> None:
    assert terms == parse(text).terms


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("where is src/main.rs?", ("src main rs",)),
        ('he said "not on Fridays" twice', ("not on Fridays",)),
        ("“curly quotes” too", ("curly quotes",)),
        ("and/or", ()),
        ("one word", ()),
        ('an "unclosed quote', ()),
    ],
)
def test_phrases_are_what_was_quoted_and_names_with_punctuation_inside(text: str, phrases: tuple[str, ...]) -> None:
    assert phrases == parse(text).phrases


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("node.js", CONTENTS[0]),
        ("the file src/main.rs", CONTENTS[1]),
        ("QUINONES", CONTENTS[2]),
        ("Zu\u0308rich", CONTENTS[2]),
        ("to be or not to be", CONTENTS[3]),
        ("日本", CONTENTS[4]),
        ("2023-05-08", CONTENTS[4]),
    ],
)
def test_names_dates_and_accents_are_found(index: apsw.Connection, text: str, content: str) -> None:
    assert content == found(index, parse(text).match)[0]


def test_words_of_the_syntax_are_searched_as_words(index: apsw.Connection) -> None:
    assert parse("NOT").match == '"NOT"'
    assert found(index, parse("NOT").match) == [CONTENTS[3]]
