"""Highlights: the words found, marked, in stretches of the content as it is."""

from __future__ import annotations

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.recall.highlight import (
    CONTENT_CHARACTERS_MAX,
    EXCERPT_CHARACTERS,
    EXCERPTS_MAX,
    FOLDED_CHARACTERS_MAX,
    highlight,
)
from engine.store.tokenizer import Tokenizer

tokenize = Tokenizer(apsw.Connection(":memory:"))

words = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["dog", "Dogs", "Zürich", "☃", "日本", "\0", "\n", "naïve", "Quin\u0303ones", "数据库", "ｶﾞｽ", "ข้อมูล", "deploy*"]
    ),
)
contents = st.lists(words, max_size=120).map(" ".join)


@given(contents, st.lists(words, max_size=4))
@example("\ud800 dog \ud800", ["dog", "\ud800"])
@example("dog" * 1000, ["dog"])
@example("dog " + "x" * 500 + " cat", ["dog", "cat"])
def test_without_its_marks_an_excerpt_is_a_stretch_of_the_content(content: str, terms: list[str]) -> None:
    content = content.replace("*", "")
    excerpts = highlight(content, terms, tokenize)

    assert len(excerpts) <= EXCERPTS_MAX
    for excerpt in excerpts:
        plain = excerpt.replace("**", "")
        assert plain in content
        assert excerpt.count("**") >= 2
        assert excerpt.count("**") % 2 == 0
        longest = max((len(word) for word in content.split()), default=0)
        assert len(plain) <= max(EXCERPT_CHARACTERS, longest + EXCERPT_CHARACTERS)


@given(st.lists(st.sampled_from(["*", "**", " ", "dog", "a*b"])).map("".join))
def test_asterisks_in_the_content_do_no_harm(content: str) -> None:
    for excerpt in highlight(content, ["dog"], tokenize):
        assert excerpt.replace("*", "") in content.replace("*", "")


@pytest.mark.parametrize(
    ("content", "terms", "excerpts"),
    [
        ("The dogs were running.", ("dog", "run"), ["The **dogs** were **running**."]),
        ("Zürich, then BERN", ("zurich", "bern"), ["**Zürich**, then **BERN**"]),
        ("🎉🎉 café 日本", ("cafe",), ["🎉🎉 **café** 日本"]),
        ("我们决定把数据库迁移到新加坡", ("数据", "据库", "新加", "加坡"), ["我们决定把**数据库**迁移到**新加坡**"]),
        ("用GPT做摘要", ("摘要", "gpt"), ["用**GPT**做**摘要**"]),
        ("移行計画", ("行",), ["移**行**計画"]),
        ("半角のﾃﾞｰﾀﾍﾞｰｽ", ("デー", "ータ"), ["半角の**ﾃﾞｰﾀ**ﾍﾞｰｽ"]),
        ("ย้ายฐานข้อมูลไป", ("ข้อ", "อมู", "มูล"), ["ย้ายฐาน**ข้อมูล**ไป"]),
        ("Größe und ﬁnance", ("groesse", "grosse", "finance"), ["**Größe** und **ﬁnance**"]),
        ("soft\u00adhyphen", ("softhyphen",), ["**soft\u00adhyphen**"]),
        ("deployed, deployment, depot", ("deploy*",), ["**deployed**, **deployment**, depot"]),
        ("nothing of the kind", ("dog",), []),
        ("", ("dog",), []),
        ("a dog", (), []),
    ],
)
def test_words_are_compared_as_the_index_does(content: str, terms: tuple[str, ...], excerpts: list[str]) -> None:
    assert excerpts == highlight(content, terms, tokenize)


def test_words_far_apart_get_an_excerpt_each_in_the_order_of_the_content() -> None:
    filler = " lorem ipsum dolor sit amet" * 20
    excerpts = highlight(f"first the cat{filler} then the dog{filler} and the dog again{filler}", ["dog", "cat"], tokenize)

    assert len(excerpts) == 2
    assert "**cat**" in excerpts[0]
    assert "then the **dog**" in excerpts[1]
    assert all(len(excerpt.replace("**", "")) <= EXCERPT_CHARACTERS for excerpt in excerpts)


def test_the_stretch_with_more_of_the_terms_comes_before_the_first_one() -> None:
    filler = " lorem ipsum dolor sit amet" * 20

    assert [excerpt[-22:] for excerpt in highlight(f"a dog{filler} and a dog beside cat", ["dog", "cat"], tokenize)] == [
        "**dog** beside **cat**"
    ]


def test_only_the_beginning_of_a_very_long_memory_is_read() -> None:
    assert highlight("x " * CONTENT_CHARACTERS_MAX + "dog", ["dog"], tokenize) == []
    assert highlight("字" * FOLDED_CHARACTERS_MAX + "数据", ["数据"], tokenize) == []
    assert len(highlight("字" * (FOLDED_CHARACTERS_MAX - 9) + "数据", ["数据"], tokenize)) == 1
