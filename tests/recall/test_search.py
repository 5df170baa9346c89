"""Search as an engine runs it, with the real model: what stands around a memory, dates, signals, and what a hit shows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.catalogue.links import MemoryLink
from engine.catalogue.memory import MemoryDelete, Scope
from engine.catalogue.search import EXCERPT_CHARACTERS_MAX, Hit, Signals
from engine.protocol import RemoteError, Request
from engine.recall.form import SAYING_WHEN
from engine.tools import links, memory
from tests.recall.library import Library

MAY, JULY = datetime(2023, 5, 8, 9, 30, tzinfo=UTC), datetime(2023, 7, 3, 18, tzinfo=UTC)
TALK = (
    ("Ana", "Good morning! I slept so well."),
    ("Ben", "Which museum did you visit in Lisbon?"),
    ("Ana", "The one with the painted tiles, right behind the station, it was marvellous."),
    ("Ben", "I would love to see that one day, it sounds wonderful."),
)
FILLING = (
    "The quarterly report is due on the first Monday of the month.",
    "Invoices above ten thousand need a second signature.",
    "The coffee machine on the third floor is broken again.",
    "Parking spaces are assigned by the front desk.",
    "Our museum of failed prototypes gets a new shelf.",
    "The retention policy keeps logs for thirty days.",
    "Marketing wants the logo in blue on white.",
    "Passwords are hashed with argon2 and never logged.",
)
OFF = Signals(session=0, dates=0, form=0)


@pytest.fixture
def library(models: Path, tmp_path: Path) -> Iterator[Library]:
    with Library.open(tmp_path, models) as library:
        library.add_all(FILLING)
        yield library


def told(library: Library, began: datetime | None = MAY, **fields: Any) -> list[int]:
    return [library.add(f"{name}: {text}", event_time=began, **fields) for name, text in TALK]


def explained(library: Library, query: str, memory_id: int, **fields: Any) -> Hit:
    hits = library.search(query, explain=True, limit=100, **fields)
    return next(hit for hit in hits if hit.memory is not None and hit.memory.id == memory_id)


SESSIONS: list[dict[str, Any]] = [
    {"metadata": {"session": "s1"}},
    {"metadata": {"session_id": 7}},
    {"metadata": {"thread_id": "t"}},
    {"scope": Scope("session", "s1")},
    {},
]


@pytest.mark.parametrize("fields", SESSIONS)
def test_an_answer_is_found_by_the_words_of_its_question(library: Library, fields: dict[str, Any]) -> None:
    _, question, answer, _ = told(library, **fields)
    asked = "which museum was visited in Lisbon"

    assert library.ids(asked)[0] == answer
    assert library.ids(asked, signals=Signals(session=0, form=0))[0] == question
    explain = explained(library, asked, answer).explain
    assert explain is not None and explain.coverage is None
    assert explain.lent == pytest.approx(1.0)
    assert explain.session is not None and explain.session > 0


def test_turns_that_were_not_stored_with_a_time_follow_one_another_too(library: Library) -> None:
    _, _, answer, _ = told(library, None)

    assert library.ids("which museum was visited in Lisbon")[0] == answer


def test_notes_in_a_row_are_no_conversation(library: Library) -> None:
    first, second = library.add("Which museum did you visit in Lisbon?"), library.add("The one with the painted tiles.")

    assert library.ids("which museum was visited in Lisbon")[0] == first
    explain = explained(library, "which museum was visited in Lisbon", second).explain
    assert explain is not None and explain.lent is None and explain.session is None


def test_turns_of_other_sessions_lend_nothing(library: Library) -> None:
    question = library.add(f"Ben: {TALK[1][1]}", metadata={"session": "a"})
    answer = library.add(f"Ana: {TALK[2][1]}", metadata={"session": "b"})

    ids = library.ids("which museum was visited in Lisbon")

    assert ids.index(question) < ids.index(answer)


def test_what_was_deleted_or_is_not_selected_lends_and_answers_nothing(library: Library) -> None:
    _, question, answer, _ = told(library, metadata={"session": "s1"})
    other = library.add("Lisbon is lovely in spring, said the museum's guide", tags=["chosen"])

    assert library.ids("which museum was visited in Lisbon", tags=["chosen"]) == [other]
    memory.delete(library.database, MemoryDelete(id=question), Request(id=1, method=""))
    assert library.ids("which museum was visited in Lisbon")[0] == other
    explain = explained(library, "which museum was visited in Lisbon", answer).explain
    assert explain is not None and explain.lent is None


def test_a_date_is_matched_with_when_it_happened(library: Library) -> None:
    early = library.add("We walked along the pier with the dog.", event_time=MAY)
    late = library.add("We walked along the pier with the dog!", event_time=JULY)

    assert library.ids("our walk on 8 May 2023")[0] == early
    assert library.ids("our walk in July 2023")[0] == late
    assert library.ids("our walk on 8 May 2023", signals=Signals(dates=0))[0] == late  # the newer of equals


def test_a_memory_is_found_by_its_date_alone(library: Library) -> None:
    """Though a hundred others are nearer by meaning."""
    library.add_all(f"What happened at the harbour, part {number}: nothing" for number in range(130))
    dated = library.add("Grandmother forgave the postman.", event_time=MAY)

    assert dated in library.ids("what happened on 8 May 2023")


def test_a_question_that_asks_when_prefers_what_tells_it(library: Library) -> None:
    library.add("Ana has moved into the flat above the bakery")
    telling = library.add("Ana moved into that flat last Sunday")

    hit = explained(library, "when did Ana move into the flat", telling)

    assert hit.explain is not None
    assert hit.explain.factors == {"time": SAYING_WHEN}
    assert library.ids("when did Ana move into the flat")[0] == telling


def test_importance_and_recency_count_when_asked_to(library: Library) -> None:
    plain, important = (
        library.add("The gate code has changed", importance=0.1),
        library.add("The gate code changed", importance=1.0),
    )
    hit = explained(library, "gate code", important, signals=Signals(importance=1.0, recency=0.5))

    assert hit.explain is not None
    assert hit.explain.factors == {"importance": 2.0, "recency": pytest.approx(2**0.5)}
    assert library.ids("gate code", signals=Signals(importance=1.0))[:2] == [important, plain]
    without = explained(library, "gate code", important)
    assert without.explain is not None and without.explain.factors == {}


def test_links_count_when_asked_to(library: Library) -> None:
    gate, linked = library.add("The gate code has changed"), library.add("Tulips are planted in autumn")
    links.link(library.database, MemoryLink(from_id=gate, to_id=linked), Request(id=1, method=""))

    before = explained(library, "gate code", linked)
    after = explained(library, "gate code", linked, signals=Signals(links=1.0))

    assert after.score > before.score
    assert before.explain is not None and before.explain.links is None
    assert after.explain is not None and after.explain.links is not None


@pytest.mark.parametrize("mode", ["auto", "keyword", "semantic", "hybrid"])
def test_the_order_is_always_the_same_and_a_limit_cuts_it(library: Library, mode: str) -> None:
    told(library, metadata={"session": "s1"})
    query = "what museum did Ana visit in May 2023"
    ids = library.ids(query, mode=mode, limit=100)

    assert [library.ids(query, mode=mode, limit=100) for _ in range(3)] == [ids] * 3
    assert library.ids(query, mode=mode, limit=3) == ids[:3]


def test_hits_below_a_score_are_left_out(library: Library) -> None:
    scores = [hit.score for hit in library.search("broken coffee machine", limit=100)]
    floor = scores[2]

    assert [hit.score for hit in library.search("broken coffee machine", limit=100, min_score=floor)] == scores[:3]


def test_a_compact_hit_shows_a_stretch_around_the_words(library: Library) -> None:
    long = "Nothing of interest is said here. " * 30 + "The lighthouse keeper collects barometers. " + "Nor here. " * 40
    memory_id = library.add(long, tags=["sea"], type="learning")

    hit = library.search("lighthouse barometers", compact=True)[0]

    assert (hit.id, hit.type, hit.tags, hit.memory, hit.highlights) == (memory_id, "learning", ["sea"], None, [])
    assert hit.excerpt is not None and "lighthouse" in hit.excerpt
    assert len(hit.excerpt) <= EXCERPT_CHARACTERS_MAX and hit.excerpt in long
    short = library.search("coffee machine broken", compact=True)[0]
    assert short.excerpt == FILLING[2]


def test_times_and_scopes_select(library: Library) -> None:
    spring = library.add("Regatta on the lake", event_time=MAY, scope=Scope("user", "ana"))
    summer = library.add("Regatta on the river", event_time=JULY, scope=Scope("user", "ben"))

    assert set(library.ids("regatta", event_before=JULY)) == {spring}
    assert set(library.ids("regatta", event_after=MAY + timedelta(seconds=1))) == {summer}
    assert set(library.ids("regatta", scope=Scope("user", "ben"))) == {summer}
    assert set(library.ids("regatta", filter={"content": {"contains": "lake"}})) == {spring}
    assert library.ids("regatta", created_after=datetime.now(UTC) + timedelta(days=1)) == []
    with pytest.raises(RemoteError) as caught:
        library.ids("regatta", scope=Scope("global", "x"))
    assert caught.value.details["field"] == "scope.id"


@pytest.mark.parametrize(
    ("query", "mode"),
    [
        ("coffee machine", "hybrid"),
        ('"coffee machine"', "keyword"),
        ('"no such words"', "hybrid"),
        ("argon2", "keyword"),
        ("argon77", "hybrid"),
    ],
)
def test_auto_lets_words_decide_for_what_is_exact_and_there(library: Library, query: str, mode: str) -> None:
    answer = library.answer(query, mode="auto")

    assert answer.mode == mode
    if mode == "keyword":
        assert len(answer.results) == 1


def test_what_is_quoted_must_be_there(library: Library) -> None:
    library.add("The machine that makes coffee is new")
    for text in ("Ana: Who fixed the coffee machine?", "Ben: I did, it only needed a new seal.", "Ana: Thank you!"):
        library.add(text, metadata={"session": "s"})

    assert len(library.ids('where is the "coffee machine"')) == 2
