"""The form of texts: questions, words of time, speakers, and turns that say next to nothing."""

from __future__ import annotations

import pytest

from engine.recall.form import ASKING, SAYING_WHEN, TELLING_CHARACTERS, asks, asks_when, factors, speaker, tells_when


@pytest.mark.parametrize("text", ["How are you?", 'Did she say "no"?"', "Really?!", "你好吗？", "So? ", "(Why?)"])
def test_a_question_is_one_by_its_end(text: str) -> None:
    assert asks(text)


@pytest.mark.parametrize("text", ["Yes.", "Why? Because.", "", "what is this", "? and then"])
def test_other_texts_do_not_ask(text: str) -> None:
    assert not asks(text)


@pytest.mark.parametrize(
    "text", ["When did Ana move?", "how long has he played", "In which year was that?", "What time is lunch?"]
)
def test_a_query_may_ask_for_a_time(text: str) -> None:
    assert asks_when(text)


@pytest.mark.parametrize("text", ["Where were you when it rained?", "whenever", "how far is it", "what did we say"])
def test_other_queries_do_not(text: str) -> None:
    assert not asks_when(text)


@pytest.mark.parametrize(
    ("text", "tells"), [("We met last Sunday", True), ("since 2019", True), ("Sundays", True), ("lastly", False)]
)
def test_words_of_time_are_seen(text: str, tells: bool) -> None:
    assert tells_when(text) is tells


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Ana: Hello.", "Ana"),
        ("Dr. Ana Díaz-Lee: yes", "Dr. Ana Díaz-Lee"),
        ("user: hi", "user"),
        ("12:30 is fine", None),
        ("https://example.org", None),
        ("A very long beginning of a sentence that ends: so", None),
        ("no colon", None),
    ],
)
def test_a_turn_names_its_speaker(text: str, name: str | None) -> None:
    assert speaker(text) == name


def test_factors_are_named_and_what_changes_nothing_is_left_out() -> None:
    short, long = "Ana: Bye!", "Ana: " + "we went to the lake and " * 4
    assert len(long) > TELLING_CHARACTERS

    assert factors(long, is_turn=True, wants_time=False) == {}
    assert factors(short, is_turn=False, wants_time=False) == {}
    assert 0 < factors(short, is_turn=True, wants_time=False)["brevity"] < 1
    assert factors(long + "?", is_turn=False, wants_time=False) == {"question": ASKING}
    assert factors(long + "today", is_turn=False, wants_time=True) == {"time": SAYING_WHEN}
    assert factors(long + "today", is_turn=False, wants_time=False) == {}


def test_a_shorter_turn_never_counts_more() -> None:
    values = [
        factors("x" * length, is_turn=True, wants_time=False).get("brevity", 1.0) for length in range(TELLING_CHARACTERS + 5)
    ]

    assert values == sorted(values)
