"""What the index is given of a text: every way to write a letter is one, and words without spaces are found in a sentence."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.recall.folding import fold, fold_aligned
from engine.recall.segmentation import phrase, search_text

CHARACTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]

texts = st.one_of(
    st.text(),
    st.text(st.characters(min_codepoint=0xC0, max_codepoint=0x30FF)),
    st.text(st.sampled_from("aeé\u0301\u0323\u00ad\u200dｶﾞ가\u1100\u1161\u11a8ﬁﷺß数据ข้อำ\u0f75\ufe27 ")),
)


def test_what_the_index_was_given_can_be_told_again_for_ever() -> None:
    """Whoever changes this sum leaves words of deleted memories in databases that exist: a migration must rebuild the index."""
    alone = search_text("\n".join(CHARACTERS))
    after_a_letter = search_text("\n".join(f"e{character}" for character in CHARACTERS))

    assert (
        hashlib.sha256((alone + after_a_letter).encode()).hexdigest()
        == "62ffea52c588ef4769c008db29ff651a7c8478db70e3360df38ee04104d1e3af"
    )


@pytest.mark.parametrize(
    ("text", "indexed"),
    [
        ("plain ASCII -- E4021", "plain ASCII -- E4021"),
        ("数据库", " 数据 据库 库 "),
        ("水", " 水 "),
        ("用GPT做摘要", " 用 GPT 做摘 摘要 要 "),
        ("데이터를", " 데이 이터 터를 를 "),
        ("ทำข้อ", " ทำข้ ข้อ อ "),
        ("ＡＢＣ１２３", "ABC123"),
        ("ﾃﾞｰﾀ", " デー ータ タ "),
        ("Straße, GRÖẞE", "Strasse, GRÖssE"),
        ("Łódź Øresund Þór ð", "lódź oresund thór d"),
        ("Αθήνα ΑΘΗΝΑ ς", "Αθηνα ΑΘΗΝΑ σ"),
        ("ёлка", "елка"),
        ("مُحَمَّد أحمد", "محمد احمد"),
        ("שָׁלוֹם", "שלום"),
        ("soft\u00adhyphen zero\u200dwidth", "softhyphen zerowidth"),
        ("Foo™ x² word¹", "Foo™ x² word¹"),
        ("हिन्दी", "हिन्दी"),
    ],
)
def test_what_is_indexed(text: str, indexed: str) -> None:
    assert indexed == search_text(text)


@given(texts, texts)
def test_however_a_text_is_composed_it_is_the_same(before: str, after: str) -> None:
    for composed, decomposed in (
        ("é", "e\u0301"),
        ("が", "か\u3099"),
        ("한", "\u1112\u1161\u11ab"),
        ("Å", "\u212b"),
        ("ữ", "ư\u0303"),
    ):
        assert search_text(f"{before} {composed} {after}") == search_text(f"{before} {decomposed} {after}")


@given(texts)
@example("".join(CHARACTERS[0x250:0x3100]))
@example("\u00ad\u0301e\u00ad\u0301")
def test_every_character_of_the_folded_text_has_its_place_in_the_original(text: str) -> None:
    folded, places = fold_aligned(text)

    assert folded == fold(text)
    assert len(places) == len(folded)
    assert places == sorted(places)
    assert all(0 <= start < end <= len(text) for start, end in places)
    assert all(fold(text[start:end]) in fold(text) for start, end in places[:20])


around = st.text(st.sampled_from("数据ข้าが가 a1é-.。\n"))


@given(
    around,
    st.text(st.sampled_from("数据库迁移เราขอが가"), min_size=1, max_size=6),
    around.filter(lambda text: not text.startswith("้")),
)
def test_a_run_is_found_inside_any_other(before: str, run: str, after: str) -> None:
    """By token: a phrase finds its words side by side, the last one as a beginning if it says so."""
    prepared, is_beginning = phrase(run)
    wanted = prepared.split()
    indexed = search_text(f"{before}{run}{after}").split()
    last = wanted[-1]

    assert any(
        indexed[at : at + len(wanted) - 1] == wanted[:-1]
        and (indexed[at + len(wanted) - 1].startswith(last) if is_beginning else indexed[at + len(wanted) - 1] == last)
        for at in range(len(indexed) - len(wanted) + 1)
    )
