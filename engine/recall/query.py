"""Turns what a person or an agent typed into FTS5 expressions. Never raises, whatever the text.

Only runs of letters and digits leave this module, and every one of them between double quotes: FTS5 sees strings and our own
``OR``, so no text has a meaning as syntax. It must not know the database: how rare a term is comes later, with the evidence.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

TEXT_CHARACTERS_MAX = 8192
"""What comes after is not read. The catalogue lets through half as much."""

TERMS_MAX = 32
"""Each term costs a look into the index. LoCoMo's questions have 1 to 14; a pasted page is found by its first lines."""

PHRASES_MAX = 8
PHRASE_WORDS_MAX = 16
WORD_CHARACTERS_MAX = 256
"""A longer run is left out, not cut: a pasted blob is no word, and half of one would find nothing."""

STOP_WORDS = frozenset(
    """
    a about above after again all also am an and any are as at be because been before being below between both but by
    can could did do does doing done during each else ever every few for from further get gets getting got had has have
    having he her here hers herself him himself his how i if in into is it its itself just let like me might more most
    much must my myself no nor not of off on once only or other our ours ourselves out over own please same shall she
    should so some such than that the their theirs them themselves then there these they this those through to too
    under until up upon us very was we were what whatever when where which while who whom whose why will with within
    without would yet you your yours yourself
    """.split()  # noqa: SIM905 - a hundred quoted words hide what the list holds
)
"""English words that say how a question is asked, not what about. Dropped only while something else is left."""

# The tokenizer takes a combining accent as part of the letter before it, and the underscore as a separator.
_WORD = re.compile(r"(?:[^\W_][\u0300-\u036f]*)+")
_QUOTED = re.compile(r'"([^"]*)"|“([^“”]*)”')
# Each begins where a word does, or is bounded: a backtracking start in mid-word would cost the square of a long run.
# "don't" goes whole, "Ana's" and "they're" lose the tail: what the tokenizer leaves of one (s, t, re) is in every other text.
_NEGATION = re.compile(r"(?<![^\W_])[^\W_]+n['’]t(?![^\W_])", re.IGNORECASE)
_TAIL = re.compile(r"(?<=[^\W_])['’](?:s|re|ve|ll|d|m)(?![^\W_])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to look for, in words. Empty when the text has no letter and no digit in it."""

    terms: tuple[str, ...] = ()
    """Words as they were typed, in order, none twice, at most ``TERMS_MAX``."""
    phrases: tuple[str, ...] = ()
    """Words that belong side by side, joined by spaces: what was quoted, and names such as ``src/main.rs``."""

    @property
    def is_empty(self) -> bool:
        return not self.terms

    @property
    def match(self) -> str:
        """The MATCH expression for memories with any of the terms, whose bm25 also rewards the phrases; '' when empty."""
        return " OR ".join(f'"{text}"' for text in (*self.terms, *self.phrases))

    @property
    def term_matches(self) -> tuple[str, ...]:
        """One MATCH expression for each of ``terms``, in the same order."""
        return tuple(f'"{term}"' for term in self.terms)


def parse(text: str) -> Query:
    """Return the query that ``text`` makes."""
    text = unicodedata.normalize("NFC", text[:TEXT_CHARACTERS_MAX])
    plain = _TAIL.sub(" ", _NEGATION.sub(" ", text))
    telling = [word for word in _words(plain) if word.lower() not in STOP_WORDS]
    return Query(
        terms=_distinct(telling or _words(text))[:TERMS_MAX],
        phrases=_distinct(_phrases(text, plain))[:PHRASES_MAX],
    )


def _phrases(text: str, plain: str) -> Iterator[str]:
    """Yield what stands between quotation marks, then every run without white space that holds several words."""
    for found in _QUOTED.finditer(text):
        words = _words(found[1] or found[2] or "")
        if 1 < len(words) <= PHRASE_WORDS_MAX:
            yield " ".join(words)
    for chunk in plain.split():
        words = _words(chunk)
        if 1 < len(words) <= PHRASE_WORDS_MAX and not all(word.lower() in STOP_WORDS for word in words):
            yield " ".join(words)


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text) if len(word) <= WORD_CHARACTERS_MAX]


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the first of those that differ in more than case."""
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(text.lower(), text)
    return tuple(first.values())
