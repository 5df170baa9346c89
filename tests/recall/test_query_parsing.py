"""The query: whatever is typed, FTS5 understands it, and what matters in it is kept."""

from __future__ import annotations

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.recall.query import PHRASES_MAX, TERMS_MAX, Query, parse
from engine.recall.segmentation import search_text
from engine.store.tokenizer import WORDS

CONTENTS = (
    "where is node.js mentioned",
    "src/main.rs holds the flags",
    "Hector Quiñones, zürich",
    "to be or not to be",
    "日本 2023-05-08",
    "我们决定用GPT做摘要",
)


@pytest.fixture(scope="module")
def index() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    tokenizer = " ".join(word if word.isalnum() else f"'{word}'" for word in WORDS)
    connection.execute(f'CREATE VIRTUAL TABLE f USING fts5 (content, tokenize = "porter {tokenizer}")')
    for number, content in enumerate(CONTENTS):
        connection.execute("INSERT INTO f (rowid, content) VALUES (?, ?)", (number, search_text(content)))
    return connection


def found(index: apsw.Connection, match: str) -> list[str]:
    return [CONTENTS[row[0]] for row in index.execute("SELECT rowid FROM f WHERE f MATCH ? ORDER BY bm25(f)", (match,))]


syntax = st.lists(
    st.sampled_from(
        ['"', "'", "*", "^", "(", ")", "NEAR", "AND", "OR", "NOT", "{", "}", ":", "-", "+", "a", "\0", "“", " ", "水"]
    )
)


@given(
    st.one_of(
        st.text(),
        syntax.map("".join),
        syntax.map(" ".join),
        st.text(st.characters(categories=["Cs", "Co", "Mn", "So"])),
        st.text(st.characters(min_codepoint=0xE00, max_codepoint=0x30FF)),
    )
)
@example('"')
@example('content : "a" NOT tags:b* ^c NEAR(d e, 2)')
@example("nul\0in the middle")
@example("👩‍👩‍👧 🎉")
@example("word " * 10_000)
@example(" ".join(f"w{n}.x" for n in range(10_000)))
@example("a" * 100_000)
@example("ab*" * 1000)
@example('"ab" ' * 1000)
@example("数据库" * 1000)
@example("ﷺ" * 1000)
@example("\ud800 x")
def test_no_text_is_an_error_for_fts5(index: apsw.Connection, text: str) -> None:
    query = parse(text)

    assert len(query.terms) <= TERMS_MAX
    assert len(query.phrases) <= PHRASES_MAX
    assert len(query.quoted) <= PHRASES_MAX
    assert len({term.lower() for term in query.terms}) == len(query.terms)
    assert query.is_empty == (query.match == "")
    for match in (query.match, query.strict_match, *query.term_matches):
        if match:
            found(index, match)


@pytest.mark.parametrize("text", ["", " \n", "?!…", "🎉🎉", '""', "\0", "_ _", "*", "* *", '"*"'])
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
        ("हिन्दी भाषा", ("हिन्दी", "भाषा")),
        ("ＧＰＴ", ("GPT",)),
        ("用GPT做摘要", ("用", "GPT", "做摘", "摘要")),
        ("ﾃﾞｰﾀ", ("デー", "ータ")),
        ("ข้อมูล", ("ข้อ", "อมู", "มูล")),
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
        ("数据库", ("数据库",)),
        ("数据", ()),
    ],
)
def test_phrases_are_what_was_quoted_and_names_with_punctuation_inside(text: str, phrases: tuple[str, ...]) -> None:
    assert phrases == parse(text).phrases


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('he said "not on Fridays" twice', ("not on Fridays",)),
        ('"E4021"', ("E4021",)),
        ("(“one” and “two words”)", ("one", "two words")),
        ('a 5" pipe and a 6" pipe', ()),
        ('print("x")', ("x",)),
        ('他说"数据库迁移"吗', ("数据库迁移",)),
        ("「新加坡」と『東京都』", ("新加坡", "東京都")),
        ('key="value"', ()),
        ('an "unclosed quote', ()),
    ],
)
def test_only_quotation_marks_around_words_quote(text: str, quoted: tuple[str, ...]) -> None:
    assert quoted == parse(text).quoted


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("deploy*", ("deploy*",)),
        ("what about deploy*?", ("deploy*",)),
        ("src/depl*", ("src", "depl*")),
        ("a*", ("a",)),
        ("**bold** and *this*", ("bold",)),
        ("2*3", ("2", "3")),
        ("all *.py", ("py",)),
        ("数据库*", ("数据", "据库")),
        ("水*", ("水",)),
    ],
)
def test_a_star_at_the_end_of_a_word_is_a_beginning(text: str, terms: tuple[str, ...]) -> None:
    assert terms == parse(text).terms


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("node.js", CONTENTS[0]),
        ("the file src/main.rs", CONTENTS[1]),
        ("QUINONES", CONTENTS[2]),
        ("Zu\u0308rich", CONTENTS[2]),
        ("quin*", CONTENTS[2]),
        ("to be or not to be", CONTENTS[3]),
        ("日本", CONTENTS[4]),
        ("2023-05-08", CONTENTS[4]),
        ("决定", CONTENTS[5]),
        ("摘要", CONTENTS[5]),
        ("用", CONTENTS[5]),
        ('"用GPT做"', CONTENTS[5]),
    ],
)
def test_names_dates_accents_and_words_without_spaces_are_found(index: apsw.Connection, text: str, content: str) -> None:
    assert content == found(index, parse(text).match)[0]


def test_words_of_the_syntax_are_searched_as_words(index: apsw.Connection) -> None:
    assert parse("NOT").match == '"NOT"'
    assert found(index, parse("NOT").match) == [CONTENTS[3]]


def test_the_strict_expression_asks_for_all_that_was_quoted(index: apsw.Connection) -> None:
    assert found(index, parse('"main rs" "the flags"').strict_match) == [CONTENTS[1]]
    assert found(index, parse('"rs main" flags').strict_match) == []
    assert parse("main flags").strict_match == ""


def test_a_stand_in_takes_the_place_of_its_term() -> None:
    query = parse("the flgas of main").with_stand_ins({"flgas": ("flags", "flag")})

    assert query.terms == ("flgas", "main")
    assert query.term_matches == ('("flags" OR "flag")', '"main"')
    assert query.sought == ("flgas", "flags", "flag", "main")
