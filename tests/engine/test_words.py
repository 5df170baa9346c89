"""The words of a real database: what a query finds, and which slips are forgiven."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.recall.highlight import highlight
from engine.recall.query import parse
from engine.store import connection as connections
from engine.store import keyword
from engine.store.database import Database
from engine.store.keyword import Found
from engine.store.selection import Selection
from engine.store.vocabulary import STEMS_READ_MAX
from tests.engine.memory_rows import NOW, add


@pytest.fixture(autouse=True, scope="module")
def _extensions() -> None:
    connections.preload()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Some notes in several scripts, that no test changes."""
    with Database(tmp_path_factory.mktemp("words") / "memory.db") as opened:
        for note in NOTES:
            add(opened, note)
        yield opened


NOTES = (
    "The Kubernetes deployment failed on Friday",
    "We deploy the databank of words by hand",
    "Our database lives in PostgreSQL",
    "Error E4021 comes from the payment worker",
    "The exact words must stand side by side",
    "These words are not the exact ones",
    "我们决定把数据库迁移到新加坡",
    "用GPT做摘要很快",
    "データベースの移行は来週の火曜日です",
    "데이터베이스를 부산으로 이전합니다",
    "เราตัดสินใจย้ายฐานข้อมูลไปสิงคโปร์",
    "ຂໍ້ມູນຢູ່ວຽງຈັນ",
    "Die Größe der Straße, café, naïve",
    "Łódź, Øresund and the Þingvellir",
    "हिन्दी भाषा में लिखा हुआ",
    "قال مُحَمَّد إن الاجتماع غدًا",
    "Η Αθήνα τον Μάιο",
    "ﬁnance in ＦＵＬＬ ｗｉｄｔｈ, ｶﾞｽ",
    "They were running to the company in November",
)


def find(database: Database, text: str, *, limit: int = 10, **selected: Any) -> Found:
    selection = Selection(**selected)
    return keyword.find(database.connection, parse(text), selection, tokenize=database.tokenize, limit=limit, now=NOW)


def contents(database: Database, found: Found) -> list[str]:
    return [database.connection.execute("SELECT content FROM memories WHERE id = ?", (i,)).get for i in found.bm25]


@pytest.mark.parametrize(
    ("text", "note", "shown"),
    [
        ("数据库", NOTES[6], "**数据库**"),
        ("数据", NOTES[6], "**数据**库"),
        ("新加坡", NOTES[6], "**新加坡**"),
        ("坡", NOTES[6], "新加**坡**"),
        ("们", NOTES[6], "我**们**决"),
        ("摘要", NOTES[7], "**摘要**"),
        ("gpt", NOTES[7], "用**GPT**做"),
        ("用GPT做摘要", NOTES[7], "**用GPT做摘要**"),
        ("移行", NOTES[8], "**移行**"),
        ("データベース", NOTES[8], "**データベース**"),
        ("ﾃﾞｰﾀ", NOTES[8], "**データ**"),
        ("火曜", NOTES[8], "**火曜**日"),
        ("데이터", NOTES[9], "**데이터**베"),
        ("부산", NOTES[9], "**부산**으로"),
        ("ฐานข้อมูล", NOTES[10], "**ฐานข้อมูล**"),
        ("ย้าย", NOTES[10], "**ย้าย**"),
        ("ວຽງຈັນ", NOTES[11], "**ວຽງຈັນ**"),
        ("GRÖSSE", NOTES[12], "**Größe**"),
        ("grosse strasse", NOTES[12], "**Straße**"),
        ("CAFE\u0301", NOTES[12], "**café**"),
        ("naive", NOTES[12], "**naïve**"),
        ("lodz", NOTES[13], "**Łódź**"),
        ("oresund thingvellir", NOTES[13], "**Þingvellir**"),
        ("हिन्दी", NOTES[14], "**हिन्दी**"),
        ("محمد", NOTES[15], "**مُحَمَّد**"),
        ("ΑΘΗΝΑ", NOTES[16], "**Αθήνα**"),
        ("finance", NOTES[17], "**ﬁnance**"),
        ("full width", NOTES[17], "**ＦＵＬＬ**"),
        ("ガス", NOTES[17], "**ｶﾞｽ**"),
    ],
)
def test_a_word_of_any_script_is_found_and_shown_as_it_was_written(library: Database, text: str, note: str, shown: str) -> None:
    found = find(library, text)

    assert contents(library, found)[0] == note
    assert shown in " ".join(highlight(note, found.query.sought, library.tokenize))
    assert found.corrected == {}


def test_content_tags_workspace_and_values_of_metadata_are_found(database: Database) -> None:
    fields = {
        "tags": ["infra/terraform"],
        "workspace": "atlas-team",
        "metadata": {"ticket": "PROJ-77", "deep": [{"city": "Łódź"}], "year": 2031, "flag": True},
    }
    memory_id = add(database, "Moved the bucket", **fields)

    for text in ("bucket", "terraform", "atlas", "PROJ-77", "lodz", "2031"):
        assert list(find(database, text).bm25) == [memory_id], text
    for text in ("ticket", "city", "true"):
        assert find(database, text).bm25 == {}, text


def test_the_place_in_a_conversation_is_no_word(database: Database) -> None:
    add(
        database, "Hello", metadata={"session": "session_3", "session_id": 3, "conversation_id": "conv-26", "thread_id": "x-26"}
    )

    assert find(database, "session 3 conv 26").bm25 == {}


def test_content_weighs_more_than_where_a_memory_lies(database: Database) -> None:
    elsewhere = [
        add(database, "A note on something else", workspace="harbour"),
        add(database, "A note on something else", metadata={"place": "harbour"}),
    ]
    inside = add(database, "A note on the harbour else")

    found = find(database, "harbour").bm25
    assert list(found) == [inside, *reversed(elsewhere)]
    assert sorted(found.values(), reverse=True) == list(found.values())
    assert all(fit > 0 for fit in found.values())


def test_what_is_quoted_must_be_there_unless_nothing_has_it(library: Database) -> None:
    assert contents(library, find(library, '"exact words"')) == [NOTES[4]]
    assert contents(library, find(library, '"exact words" or Kubernetes')) == [NOTES[4]]
    assert contents(library, find(library, '"数据库" deploy')) == [NOTES[6]]
    assert set(contents(library, find(library, '"words exact"'))) == {NOTES[1], NOTES[4], NOTES[5]}


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("deploy*", {NOTES[0], NOTES[1]}),
        ("data*", {NOTES[1], NOTES[2]}),
        ("databas*", {NOTES[2]}),
        ("comp*", {NOTES[18]}),
        ("running*", {NOTES[18]}),
        ("gro*", {NOTES[12]}),
        ("E40*", {NOTES[3]}),
        ("数*", {NOTES[6]}),
        ("zz*", set()),
    ],
)
def test_a_star_finds_what_begins_so(library: Database, text: str, notes: set[str]) -> None:
    found = find(library, text)

    assert set(contents(library, found)) == notes
    assert (sum(found.frequencies) > 0) == bool(notes)


@pytest.mark.parametrize(
    ("typed", "meant", "note"),
    [
        ("kuberentes", "kubernetes", NOTES[0]),
        ("ukbernetes", "kubernetes", NOTES[0]),
        ("kubrnets", "kubernetes", NOTES[0]),
        ("deploymnet", "deployment", NOTES[0]),
        ("databse", "database", NOTES[2]),
        ("Postgersql", "postgresql", NOTES[2]),
        ("compnay", "company", NOTES[18]),
        ("runing", "running", NOTES[18]),
    ],
)
def test_slips_of_the_finger_are_forgiven_and_told(library: Database, typed: str, meant: str, note: str) -> None:
    found = find(library, typed)

    assert contents(library, found) == [note]
    assert found.corrected == {typed: (meant,)}
    assert found.query.terms == (typed,)
    assert "**" in highlight(note, found.query.sought, library.tokenize)[0]


@pytest.mark.parametrize("text", ["E4012", "E4201", "4021", "fri", "novel", "horse", "数居库", '"databse"', "databse*"])
def test_numbers_short_words_and_what_was_meant_so_are_left(library: Database, text: str) -> None:
    found = find(library, text)

    assert found.corrected == {}
    assert NOTES[3] not in contents(library, found)


def test_a_word_that_is_there_is_not_corrected(database: Database) -> None:
    add(database, "the marking of the road")
    typo = add(database, "the markign of the road")

    assert list(find(database, "markign").bm25) == [typo]


def test_a_correction_tells_no_word_that_may_not_be_seen(database: Database) -> None:
    add(database, "kubernetes is for others", workspace="secret")
    add(database, "kubernetes was thrown away", deleted_at=NOW - 1)

    assert find(database, "kuberentes", workspace="default").corrected == {}
    assert find(database, "kuberentes", workspace="secret").corrected == {"kuberentes": ("kubernetes",)}


def test_a_slip_is_forgiven_though_somebody_else_made_it_too(database: Database) -> None:
    add(database, "kuberentes, misspelt", workspace="secret")
    memory_id = add(database, "kubernetes")

    assert list(find(database, "kuberentes", workspace="default").bm25) == [memory_id]


def test_a_slip_is_forgiven_though_thousands_of_words_begin_as_it_does(database: Database) -> None:
    others = islice(product("bcdfghjklm", repeat=4), STEMS_READ_MAX + 1)
    add(database, " ".join(f"adt{''.join(letters)}" for letters in others))
    add(database, "Our database lives in PostgreSQL")

    assert find(database, "adtabase").corrected == {"adtabase": ("database",)}


def test_of_many_memories_it_is_told_which_terms_each_holds(library: Database) -> None:
    query = parse("words deployed exactly by hand").with_stand_ins({"exactly": ("exact",)})

    held = keyword.terms_held(library.connection, query, [1, 2, 3, 5, 999])

    assert query.terms == ("words", "deployed", "exactly", "hand")
    assert {1: set(), 2: {0, 1, 3}, 3: set(), 5: {0, 2}, 999: set()} == held


def test_the_hidden_take_no_place_among_the_best(database: Database) -> None:
    for _ in range(30):
        add(database, "cat cat cat", deleted_at=NOW - 1)
    seen = {add(database, f"number {n} is a long text with one cat in it") for n in range(5)}

    assert set(find(database, "cat", limit=5).bm25) == seen
    assert list(find(database, "cat", limit=3).bm25) == sorted(seen, reverse=True)[:3]


words = st.sampled_from(
    ['"kuberentes"', "databse", "数据", "GPT做", "deploy*", '"', "*", "OR", "ｶﾞ", "ข้", "e\u0301", "\0", "水*", "E4012"]
)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(), st.lists(words).map(" ".join), st.lists(words).map("".join)))
@example("\ud800 databse")
@example("ﷺ" * 500)
def test_no_text_is_an_error(library: Database, text: str) -> None:
    found = find(library, text)

    assert found.query.terms == parse(text).terms
    assert len(found.frequencies) == len(found.query.terms)
    matching = "SELECT rowid FROM memories_fts WHERE memories_fts MATCH ?"
    assert (
        found.bm25.keys() <= {row[0] for row in library.connection.execute(matching, (found.match,))} if found.match else True
    )
    for content in contents(library, found):
        highlight(content, found.query.sought, library.tokenize)


def test_in_a_large_store_the_commonest_words_propose_nothing_while_rarer_ones_do(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = {add(database, f"a note about work, number {n}") for n in range(30)}
    rare = {add(database, f"harbour {n}") for n in range(5)}
    add(database, "harbour", workspace="secret")

    assert set(find(database, "harbour work", limit=50).bm25) >= common | rare
    monkeypatch.setattr(keyword, "RANKED_MAX", 20)
    assert set(find(database, "harbour work", limit=5, workspace="default").bm25) == rare
    assert len(find(database, "harbour work", limit=8, workspace="default").bm25) == 8
    assert len(find(database, "work", limit=50).bm25) == 30
