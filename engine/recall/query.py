"""Turns what a person or an agent typed into FTS5 expressions. Never raises, whatever the text.

Only runs of letters and digits leave this module, and every one of them between double quotes: FTS5 sees strings, our own
``OR`` and ``AND``, and our own star, so no text has a meaning as syntax but two: "words in quotes" stand side by side, and
``word*`` is the beginning of a word. It must not know the database: how rare a term is comes later, with the evidence.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from engine.recall.folding import normalize
from engine.recall.segmentation import LETTERS, UNIT, pairs, phrase, runs, units

TEXT_CHARACTERS_MAX = 8192
"""What comes after is not read. The catalogue lets through half as much."""

TERMS_MAX = 32
"""Each term costs a look into the index. LoCoMo's questions have 1 to 14; a pasted page is found by its first lines."""

PHRASES_MAX = 8
PHRASE_WORDS_MAX = 32
PREFIX_CHARACTERS_MIN = 2
"""``a*`` would be a fifth of the index."""

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

_MARKS = "".join(chr(code) for code in range(0x300, 0x3100) if unicodedata.category(chr(code))[0] == "M")
# The tokenizer takes a mark as part of the letter before it, and the underscore as a separator.
_WORD = re.compile(rf"(?:{UNIT})+|(?:(?!{UNIT})[^\W_][{_MARKS}]*)+")
# A mark after a digit is an inch, one after = belongs to a program.
_QUOTED = re.compile(
    rf'(?<![^\s(\[{{{LETTERS}])(?:"([^"]*)"|“([^“”]*)”|「([^「」]*)」|『([^『』]*)』)(?!(?![{LETTERS}])[^\W_])'
)
_STARRED = re.compile(r"[^\W_*]\*[)\].,;:!?\"'”]*")
# Each begins where a word does, or is bounded: a backtracking start in mid-word would cost the square of a long run.
# "don't" goes whole, "Ana's" and "they're" lose the tail: what the tokenizer leaves of one (s, t, re) is in every other text.
_NEGATION = re.compile(r"(?<![^\W_])[^\W_]+n['’]t(?![^\W_])", re.IGNORECASE)
_TAIL = re.compile(r"(?<=[^\W_])['’](?:s|re|ve|ll|d|m)(?![^\W_])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to look for, in words. Empty when the text has no letter and no digit in it."""

    terms: tuple[str, ...] = ()
    """Words as they were typed, in order, none twice, at most ``TERMS_MAX``. One with a star at its end is a beginning.

    Of a script without spaces, they are the pairs of neighbouring letters.
    """
    phrases: tuple[str, ...] = ()
    """Words that belong side by side, joined by spaces: what was quoted, and names such as ``src/main.rs``."""
    quoted: tuple[str, ...] = ()
    """What was quoted: a memory without it is not meant, unless there is none with it."""
    stand_ins: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Words that are looked for in place of a term, if the index knows it by others (``engine.store.keyword``)."""

    @property
    def is_empty(self) -> bool:
        return not self.terms

    @property
    def match(self) -> str:
        """The MATCH expression for memories with any of the terms, whose bm25 also rewards the phrases; '' when empty."""
        return self.match_of(self.terms)

    @property
    def strict_match(self) -> str:
        """``match`` for memories that also hold all that was quoted; '' when nothing was."""
        return " AND ".join((*map(_expression, self.quoted), f"({self.match})")) if self.quoted else ""

    @property
    def term_matches(self) -> tuple[str, ...]:
        """One MATCH expression for each of ``terms``, in the same order."""
        return tuple(
            f"({' OR '.join(map(_expression, self.stand_ins[term]))})" if term in self.stand_ins else _expression(term)
            for term in self.terms
        )

    @property
    def sought(self) -> tuple[str, ...]:
        """The words to show in a memory: each term, or what stands in for it."""
        return tuple(word for term in self.terms for word in (term, *self.stand_ins.get(term, ())))

    def match_of(self, terms: Collection[str]) -> str:
        """Return ``match`` for some of the terms only; the phrases stay."""
        matches = (match for term, match in zip(self.terms, self.term_matches, strict=True) if term in terms)
        return " OR ".join((*matches, *map(_expression, self.phrases)))

    def with_stand_ins(self, stand_ins: Mapping[str, tuple[str, ...]]) -> Query:
        """Return the query with other words in the place of some terms."""
        return replace(self, stand_ins=MappingProxyType({**self.stand_ins, **stand_ins})) if stand_ins else self


def parse(text: str) -> Query:
    """Return the query that ``text`` makes."""
    text = normalize(text[:TEXT_CHARACTERS_MAX])
    plain = _TAIL.sub(" ", _NEGATION.sub(" ", text))
    telling = [word for word in _words(plain) if word.lower() not in STOP_WORDS]
    quoted = _distinct(_quotations(text))[:PHRASES_MAX]
    return Query(
        terms=_distinct(_terms(telling or _words(text)))[:TERMS_MAX],
        phrases=_distinct(found for found in (*quoted, *_names(plain)) if _is_phrase(found))[:PHRASES_MAX],
        quoted=quoted,
    )


def _terms(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        run = word.rstrip("*")  # a run is open at its end without a star
        yield from (pairs(units(run)) or [run]) if runs(run) else [word]


def _quotations(text: str) -> Iterator[str]:
    """Yield the words between each two quotation marks, joined by spaces."""
    for found in _QUOTED.finditer(text):
        words = _words(found[found.lastindex or 0])
        if 0 < len(words) <= PHRASE_WORDS_MAX:
            yield _joined(words)


def _names(plain: str) -> Iterator[str]:
    """Yield every stretch without white space that holds several words."""
    for chunk in plain.split():
        words = _words(chunk)
        if 0 < len(words) <= PHRASE_WORDS_MAX and not all(word.lower() in STOP_WORDS for word in words):
            yield _joined(words)


def _is_phrase(text: str) -> bool:
    """Return whether a text looks for several terms side by side, and so for more than each of them."""
    return " " in text or len(list(_terms([text]))) > 1


def _words(text: str) -> list[str]:
    """Return the words of a text; one that was typed as the beginning of others keeps its star."""
    found: list[str] = []
    for chunk in text.split():
        words = [word for word in _WORD.findall(chunk) if len(word) <= WORD_CHARACTERS_MAX]
        # **bold**, *this* and 2*3 are no beginnings of words.
        if chunk.count("*") == 1 and words and _STARRED.fullmatch(chunk[chunk.index("*") - 1 :]):
            words[-1] += "*" * (len(words[-1]) >= PREFIX_CHARACTERS_MIN)
        found += words
    return found


def _joined(words: list[str]) -> str:
    return " ".join([*(word.rstrip("*") for word in words[:-1]), words[-1]])


def _expression(text: str) -> str:
    prepared, is_beginning = phrase(text.rstrip("*"))
    return f'"{prepared}" *' if is_beginning or text.endswith("*") else f'"{prepared}"'


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the first of those that differ in more than case."""
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(text.lower(), text)
    return tuple(first.values())
