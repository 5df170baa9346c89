"""Dates in a query: which stretches of time it speaks of, and which of its words say so.

``8 May 2023``, ``May 8th``, ``2023-05-08``, ``in May``, ``last Monday``, ``two weeks ago``: each becomes the periods that it
may mean. A date without a year means every year there may be memories of. English only. Pure: the present time is passed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from engine.protocol.moment import from_datetime

DATES_MAX = 4
"""A question names one date, or the two ends of a period."""

_YEARS_BACK = 20
"""How far back a date without a year may reach. Agents' memories are younger; imported ones hardly older."""

NEAR_DAYS = 14
"""What happened is told some days later. A memory's date is when it was told as often as when it happened."""

_NEAR = NEAR_DAYS * 24 * 60 * 60 * 1_000_000
_UNITS_AGO_MAX = 500
_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}

_MONTH = rf"(?P<month>{'|'.join(_MONTHS)}|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\b\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?\b"
_YEAR = r"(?P<year>(?:19|20)\d\d)\b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A stretch of time in microseconds since 1970, the end not included."""

    start: int
    end: int

    def distance(self, start: int, end: int) -> int:
        """Return how far away what happened from ``start`` to ``end`` is, in microseconds; 0 when they touch."""
        return max(0, start - self.end + 1, self.start - end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """One date in a text."""

    words: frozenset[str]
    """The words it is written with, in lower case."""
    periods: tuple[Period, ...]
    """What it may mean, earliest first; several when the year was left out."""

    def closeness(self, start: int, end: int) -> float:
        """Return 1 for what happened, from ``start`` to ``end``, at that date; less within ``NEAR_DAYS`` of it; else 0."""
        return max(0.0, 1.0 - min(period.distance(start, end) for period in self.periods) / _NEAR)


def mentions(text: str, now: int) -> list[Mention]:
    """Return the dates that ``text`` mentions, in order; none twice, and none that the calendar doesn't have."""
    today = datetime.fromtimestamp(now / 1_000_000, UTC).date()
    found: list[Mention] = []
    taken: list[tuple[int, int]] = []
    for pattern, read in _FORMS:
        for match in pattern.finditer(text):
            if any(match.start() < end and start < match.end() for start, end in taken):
                continue
            periods = tuple(_clamped(read(match, today)))
            if periods:
                taken.append(match.span())
                found.append(Mention(words=frozenset(re.findall(r"\w+", match[0].lower())), periods=periods))
    in_order = sorted(zip(taken, found, strict=True), key=lambda pair: pair[0])
    return [mention for _, mention in in_order][:DATES_MAX]


def _full(match: re.Match[str], today: date) -> Iterator[tuple[date, date]]:
    """A day and a month, or a month; of the year given, else of every year."""
    given = match.groupdict()
    month = _month(given["month"])
    years = [int(given["year"])] if given.get("year") else range(today.year - _YEARS_BACK, today.year + 1)
    for year in years:
        if given.get("day"):
            yield from _span(lambda year=year: date(year, month, int(given["day"])), days=1)  # type: ignore[misc]
        else:
            yield _month_of(year, month)


def _iso(match: re.Match[str], _: date) -> Iterator[tuple[date, date]]:
    yield from _span(lambda: date.fromisoformat(match[0]), days=1)


def _year(match: re.Match[str], _: date) -> Iterator[tuple[date, date]]:
    year = int(match["year"])
    yield date(year, 1, 1), date(year + 1, 1, 1)


def _near_day(match: re.Match[str], today: date) -> Iterator[tuple[date, date]]:
    day = today - timedelta(days=1 if match[0].lower() == "yesterday" else 0)
    yield day, day + timedelta(days=1)


def _ago(match: re.Match[str], today: date) -> Iterator[tuple[date, date]]:
    number = match["number"].lower()
    count = _NUMBERS.get(number) or int(number)
    if count > _UNITS_AGO_MAX:
        return
    match match["unit"].lower():
        case "day":
            day = today - timedelta(days=count)
            yield day, day + timedelta(days=1)
        case "week":
            # People round: three weeks ago is any day around it.
            day = today - timedelta(weeks=count)
            yield day - timedelta(days=3), day + timedelta(days=4)
        case "month":
            months = today.year * 12 + today.month - 1 - count
            if months >= 12:
                yield _month_of(months // 12, months % 12 + 1)
        case _:
            if today.year > count:
                yield date(today.year - count, 1, 1), date(today.year - count + 1, 1, 1)


def _relative(match: re.Match[str], today: date) -> Iterator[tuple[date, date]]:
    """``last`` or ``this`` with a week, month, year, weekend, day of the week or month."""
    last = match["which"].lower() != "this"
    what = match["what"].lower()
    monday = today - timedelta(days=today.weekday())
    if what == "week":
        start = monday - timedelta(weeks=last)
        yield start, start + timedelta(weeks=1)
    elif what == "weekend":
        saturday = monday + timedelta(days=5) - timedelta(weeks=last)
        yield saturday, saturday + timedelta(days=2)
    elif what == "month":
        months = today.year * 12 + today.month - 1 - last
        yield _month_of(months // 12, months % 12 + 1)
    elif what == "year":
        yield date(today.year - last, 1, 1), date(today.year - last + 1, 1, 1)
    elif what in _DAYS:
        back = (today.weekday() - _DAYS.index(what)) % 7 or (7 if last else 0)
        day = today - timedelta(days=back)
        yield day, day + timedelta(days=1)
    else:
        month = _month(what)
        yield _month_of(today.year - (month > today.month or (last and month == today.month)), month)


def _month(name: str) -> int:
    return next(number for number, month in enumerate(_MONTHS, 1) if month.startswith(name.lower()[:3]))


def _month_of(year: int, month: int) -> tuple[date, date]:
    return date(year, month, 1), date(year + month // 12, month % 12 + 1, 1)


def _span(read: Callable[[], date], *, days: int) -> Iterator[tuple[date, date]]:
    """Yield the days from ``read()`` on, or nothing when there is no such day."""
    try:
        start = read()
        yield start, start + timedelta(days=days)
    except (ValueError, OverflowError):
        return


def _clamped(dates: Iterator[tuple[date, date]]) -> Iterator[Period]:
    for start, end in dates:
        yield Period(start=_moment(start), end=_moment(end))


def _moment(day: date) -> int:
    return from_datetime(datetime(day.year, day.month, day.day, tzinfo=UTC))


def _form(pattern: str, flags: int = re.IGNORECASE) -> re.Pattern[str]:
    return re.compile(rf"\b{pattern}", flags)


# The longest first: what one form has read, a later one doesn't read again. A month's name alone is a word of its own right
# ("may", "march"), so it counts only behind a word that makes it a date.
_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], date], Iterator[tuple[date, date]]]], ...] = (
    (_form(r"\d{4}-\d\d-\d\d\b"), _iso),
    (_form(rf"{_DAY}\s+(?:of\s+)?{_MONTH},?\s*{_YEAR}"), _full),
    (_form(rf"{_MONTH}\s+(?:the\s+)?{_DAY},?\s*{_YEAR}"), _full),
    (_form(rf"{_MONTH},?\s+(?:of\s+)?{_YEAR}"), _full),
    (_form(rf"{_DAY}\s+(?:of\s+)?{_MONTH}"), _full),
    (_form(rf"{_MONTH}\s+(?:the\s+)?{_DAY}"), _full),
    (
        _form(
            r"(?P<number>an?|one|two|three|four|five|six|seven|eight|nine|\d{1,3})\s+(?P<unit>day|week|month|year)s?\s+ago\b"
        ),
        _ago,
    ),
    (
        _form(
            rf"(?P<which>last|past|previous|this)\s+(?P<what>weekend|week|month|year|{'|'.join(_DAYS)}|{'|'.join(_MONTHS)})\b"
        ),
        _relative,
    ),
    (_form(r"(?:yesterday|today)\b"), _near_day),
    (_form(rf"(?:in|during|since|of|early|mid|late|until|before|after|by)[\s-]+{_MONTH}"), _full),
    (_form(rf"(?:in|during|since|of|early|mid|late|until|before|after|by|year)[\s-]+{_YEAR}"), _year),
)
