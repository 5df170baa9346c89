"""Words lent by the turns around a memory and by its date."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from engine.protocol.moment import from_datetime
from engine.recall.dates import mentions
from engine.recall.surroundings import LENT_BY_QUESTION, LENT_BY_TURNS, Chains, DatedTerms, lent_by_turns

NOW = from_datetime(datetime(2026, 11, 18, tzinfo=UTC))
MAY = from_datetime(datetime(2023, 5, 8, tzinfo=UTC))
JULY = from_datetime(datetime(2023, 7, 1, tzinfo=UTC))


def test_stretches_that_overlap_make_one_chain() -> None:
    chains = Chains([[3, 1, 4], [1, 4, 9], [7, 8], [5]])

    assert chains.nearby(4) == [1, 3, 9]
    assert chains.before(9) == 4
    assert chains.before(3) is None
    assert 8 in chains and 5 not in chains
    assert chains.with_those_before([9, 5]) == {4, 5, 9}


def test_a_turn_gets_what_it_lacks_most_of_all_from_the_question_it_answers() -> None:
    lent = lent_by_turns({0}, [{0, 1}, {2}], {2, 3}, 1.0)

    assert lent == {1: LENT_BY_TURNS, 2: LENT_BY_QUESTION, 3: LENT_BY_QUESTION}


def test_a_weight_makes_it_less() -> None:
    assert lent_by_turns((), [{1}], {2}, 0.5) == {1: LENT_BY_TURNS / 2, 2: LENT_BY_QUESTION / 2}
    assert lent_by_turns((), [], (), 1.0) == {}


def lent_by_date(query: str, times: dict[int, tuple[int, int]]) -> dict[int, dict[int, float]]:
    terms = query.replace(",", "").split()
    dated = DatedTerms(terms, mentions(query, NOW), times, 1.0)
    found: dict[int, dict[int, float]] = {}
    for memory_id in times:
        dated.lend(memory_id, set(), found.setdefault(memory_id, {}))
    return found


def test_the_words_of_a_date_are_lent_to_the_memories_of_that_date() -> None:
    found = lent_by_date("pier 8 May 2023", {1: (MAY, MAY), 2: (JULY, JULY), 3: (JULY, JULY)})

    assert found == {1: {1: 1.0, 2: 1.0, 3: 1.0}, 2: {}, 3: {}}


def test_what_was_told_some_days_later_gets_less() -> None:
    week = 7 * 24 * 60 * 60 * 1_000_000
    found = lent_by_date("pier 8 May 2023", {1: (MAY + week, MAY + week), 2: (JULY, JULY)})

    assert 0.5 < found[1][1] < 0.6
    assert found[2] == {}


@pytest.mark.parametrize("query", ["pier in 2023", "pier in 2019"])
def test_a_date_that_all_or_none_have_lends_nothing(query: str) -> None:
    assert lent_by_date(query, {1: (MAY, MAY), 2: (JULY, JULY)}) == {1: {}, 2: {}}


def test_a_word_that_is_held_is_not_lent() -> None:
    dated = DatedTerms(["8", "May", "2023"], mentions("8 May 2023", NOW), {1: (MAY, MAY), 2: (JULY, JULY)}, 1.0)
    lent: dict[int, float] = {0: 1.0}
    dated.lend(1, {1}, lent)

    assert lent == {0: 1.0, 2: 1.0}
