"""Dates in a query: what is read as one, what it means, and that no text breaks the reading."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.protocol.moment import from_datetime
from engine.recall.dates import DATES_MAX, NEAR_DAYS, mentions

NOW = from_datetime(datetime(2026, 11, 18, 9, 30, tzinfo=UTC))  # a Wednesday
DAY_US = 24 * 60 * 60 * 1_000_000


def moment(day: date) -> int:
    return from_datetime(datetime(day.year, day.month, day.day, tzinfo=UTC))


def read(text: str) -> list[tuple[date, date]]:
    """Return the last period of each date in a text: its first day and the day after its last."""
    return [
        (datetime.fromtimestamp(last.start / 1e6, UTC).date(), datetime.fromtimestamp(last.end / 1e6, UTC).date())
        for last in (mention.periods[-1] for mention in mentions(text, NOW))
    ]


@pytest.mark.parametrize(
    ("text", "first", "after"),
    [
        ("what happened on 8 May 2023?", date(2023, 5, 8), date(2023, 5, 9)),
        ("May 8th, 2023", date(2023, 5, 8), date(2023, 5, 9)),
        ("the 8th of May 2023", date(2023, 5, 8), date(2023, 5, 9)),
        ("the call of 2023-05-08", date(2023, 5, 8), date(2023, 5, 9)),
        ("in Feb 2024", date(2024, 2, 1), date(2024, 3, 1)),
        ("December 2023 plans", date(2023, 12, 1), date(2024, 1, 1)),
        ("what did we decide in 2022", date(2022, 1, 1), date(2023, 1, 1)),
        ("on 3 June", date(2026, 6, 3), date(2026, 6, 4)),
        ("in July", date(2026, 7, 1), date(2026, 8, 1)),
        ("last May", date(2026, 5, 1), date(2026, 6, 1)),
        ("last November", date(2025, 11, 1), date(2025, 12, 1)),
        ("last December", date(2025, 12, 1), date(2026, 1, 1)),
        ("this November", date(2026, 11, 1), date(2026, 12, 1)),
        ("yesterday", date(2026, 11, 17), date(2026, 11, 18)),
        ("today's notes", date(2026, 11, 18), date(2026, 11, 19)),
        ("last week", date(2026, 11, 9), date(2026, 11, 16)),
        ("this week", date(2026, 11, 16), date(2026, 11, 23)),
        ("last weekend", date(2026, 11, 14), date(2026, 11, 16)),
        ("last Wednesday", date(2026, 11, 11), date(2026, 11, 12)),
        ("last Tuesday", date(2026, 11, 17), date(2026, 11, 18)),
        ("last month", date(2026, 10, 1), date(2026, 11, 1)),
        ("last year", date(2025, 1, 1), date(2026, 1, 1)),
        ("three days ago", date(2026, 11, 15), date(2026, 11, 16)),
        ("2 weeks ago", date(2026, 11, 1), date(2026, 11, 8)),
        ("a month ago", date(2026, 10, 1), date(2026, 11, 1)),
        ("11 months ago", date(2025, 12, 1), date(2026, 1, 1)),
        ("30 February 2023", date(2023, 2, 1), date(2023, 3, 1)),
        ("4 years ago", date(2022, 1, 1), date(2023, 1, 1)),
    ],
)
def test_a_date_is_read(text: str, first: date, after: date) -> None:
    assert read(text) == [(first, after)]


@pytest.mark.parametrize(
    "text",
    [
        "may I march to your august company",
        "ticket 2023",
        "room 8",
        "900 days ago",
        "2023-13-40",
        "in the second half",
        "",
    ],
)
def test_what_is_no_date_is_not_read(text: str) -> None:
    assert read(text) == []


def test_a_date_without_a_year_means_any_year() -> None:
    (mention,) = mentions("on 3 June", NOW)

    for year in (2010, 2019, 2026):
        assert mention.closeness(moment(date(year, 6, 3)), moment(date(year, 6, 3))) == 1.0
    assert mention.closeness(moment(date(2019, 9, 3)), moment(date(2019, 9, 3))) == 0.0


def test_its_words_are_named_and_nothing_is_read_twice() -> None:
    (first, second) = mentions("between August 11 and August 15, 2023", NOW)

    assert first.words == {"august", "11"}
    assert second.words == {"august", "15", "2023"}
    assert len(second.periods) == 1


@given(st.integers(-60, 60), st.integers(0, 30))
def test_closeness_falls_with_the_distance_and_touching_is_all(days: int, lasting: int) -> None:
    (mention,) = mentions("2023-05-08", NOW)
    start = moment(date(2023, 5, 8)) + days * DAY_US
    close = mention.closeness(start, start + lasting * DAY_US)
    closer = mention.closeness(start - (days > 0) * DAY_US + (days < 0) * DAY_US, start + lasting * DAY_US)

    assert 0.0 <= close <= closer <= 1.0
    assert (close == 1.0) == (days <= 0 <= days + lasting)
    assert (close > 0.0) == (days <= NEAR_DAYS and days + lasting > -NEAR_DAYS)


@given(
    st.text(max_size=200) | st.from_regex(r"(last|in|\d{1,4}|May|,| |years ago|-){1,20}", fullmatch=True), st.integers(0, 2**52)
)
def test_any_text_at_any_time_is_read_without_an_error(text: str, now: int) -> None:
    found = mentions(text, now)

    assert len(found) <= DATES_MAX
    for mention in found:
        assert mention.words
        assert all(period.start < period.end for period in mention.periods)


def test_days_are_counted_in_utc() -> None:
    late = from_datetime(datetime(2026, 11, 18, 23, 59, tzinfo=UTC))
    (mention,) = mentions("today", late)

    assert mention.periods[0].end - late == timedelta(minutes=1) // timedelta(microseconds=1)
