"""How many tokens a text will take of a model's context: an estimate, made without any model's tokenizer.

The rule: six ASCII letters of one word are a token, and so are three digits of one number, 32 spaces, and every other
character; a character beyond the basic plane (an emoji, say) is two. What is begun counts whole. Measured against MiniLM's
WordPiece it is 15% too high on chat (LoCoMo; of the single messages one in a hundred is more than estimated), 12% on Python,
11% on Markdown, 8% on JSON and 5% on Russian, exact on Chinese and Japanese, and too low by 17% on German and 20% on Korean.

Two texts joined never count more than apart, so that pieces which fit a budget one by one fit it together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORD_LETTERS = 6
_NUMBER_DIGITS = 3
_SPACES = 32
TOKEN_CHARACTERS_MAX = _SPACES
"""No token holds more characters of a text."""

_RUN = re.compile(r"(?P<letters>[A-Za-z]+)|(?P<digits>[0-9]+)|(?P<spaces> +)|(?P<other>.)", re.DOTALL)
_BASIC_PLANE_LAST = "\uffff"
_GAP_CHARACTERS_MAX = 40
"""How far back a cut looks for white space: further, and a text without any would lose too much."""


def estimate(text: str) -> int:
    """Return about how many tokens ``text`` takes."""
    tokens = 0
    for _, tokens in _running(text):  # noqa: B007  the last sum is the answer
        pass
    return tokens


def fit(text: str, tokens: int) -> int:
    """Return how many characters from the beginning of ``text`` take at most ``tokens``.

    It cuts at white space if there is any near, else between runs of like characters; within one only when it is the first.
    """
    fitting = gap = 0
    for end, used in _running(text):
        if used > tokens:
            if fitting == 0:
                return min(end - 1, max(0, tokens) * _NUMBER_DIGITS)
            if text[fitting].isspace():
                return fitting
            return gap if fitting - gap <= _GAP_CHARACTERS_MAX and gap else fitting
        if text[fitting].isspace():
            gap = fitting
        fitting = end
    return fitting


def _running(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each run of like characters ends, and the tokens up to there."""
    tokens = spaces = 0
    for run in _RUN.finditer(text):
        length = run.end() - run.start()
        match run.lastgroup:
            case "letters":
                tokens += -(-length // _WORD_LETTERS)
            case "digits":
                tokens += -(-length // _NUMBER_DIGITS)
            case "spaces":
                spaces += length
            case _:
                tokens += 1 if run[0] <= _BASIC_PLANE_LAST else 2
        yield run.end(), tokens + -(-spaces // _SPACES)
