"""What the form of a text tells, whatever it is about: whether it asks, whether it says when, how little it says.

A question's words find the question; what was wanted stands in the answer, and a turn such as "Take care!" answers nothing.
Each becomes a factor on the evidence for a memory. Words of time are English. Pure.
"""

from __future__ import annotations

import re

ASKING = 0.7
"""What the evidence for a question counts."""

SAYING_WHEN = 2.0
"""What a text with a word of time counts for a question that asks when."""

TELLING_CHARACTERS = 60
"""A turn this long may answer anything. A shorter one counts by the square root of its share."""

SPEAKER_CHARACTERS_MAX = 40
_CHARACTERS_MIN = 13  # shorter ones are equally empty

_TAIL_CHARACTERS = 16
_ENDS_ASKING = re.compile(r"[?？]\W*\Z")
_SPEAKER = re.compile(rf"\s*([^\W\d_][^:\n]{{0,{SPEAKER_CHARACTERS_MAX - 1}}}):\s")
_ASKS_WHEN = re.compile(
    r"\W*(?:when|since when|how long|(?:in |on |at |by )?(?:what|which) (?:date|day|week|month|year|time))\b", re.IGNORECASE
)
_TELLS_WHEN = re.compile(
    r"\b(?:yesterday|today|tonight|tomorrow|ago|last|next|since|recently"
    r"|(?:day|night|morning|evening|week|weekend|month|year|summer|winter|spring|autumn"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day)s?"
    r"|january|february|march|april|june|july|august|september|october|november|december|(?:19|20)\d\d)\b",
    re.IGNORECASE,
)


def asks(text: str) -> bool:
    """Say whether a text ends with a question."""
    tail = text[-_TAIL_CHARACTERS:]
    # Most texts hold no mark at all, and looking for one takes a tenth of the time.
    return ("?" in tail or "？" in tail) and _ENDS_ASKING.search(tail) is not None


def asks_when(query: str) -> bool:
    """Say whether a query asks for a time."""
    return _ASKS_WHEN.match(query) is not None


def tells_when(text: str) -> bool:
    """Say whether a text holds a word of time, such as "yesterday" or a month's name."""
    return _TELLS_WHEN.search(text) is not None


def speaker(text: str) -> str | None:
    """Return who speaks in a turn written as ``Name: words``."""
    found = _SPEAKER.match(text)
    return None if found is None else found[1]


def factors(text: str, *, is_turn: bool, wants_time: bool) -> dict[str, float]:
    """Return by name what the form of a memory multiplies its evidence by; what changes nothing is left out.

    Only a turn of a session is expected to say much: a note may be short because it is to the point.
    """
    found: dict[str, float] = {}
    if asks(text):
        found["question"] = ASKING
    if wants_time and tells_when(text):
        found["time"] = SAYING_WHEN
    if is_turn and len(text) < TELLING_CHARACTERS:
        found["brevity"] = (max(_CHARACTERS_MIN, len(text)) / TELLING_CHARACTERS) ** 0.5
    return found
