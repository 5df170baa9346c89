"""Cuts a long text into the spans that are embedded. Pure: a text and where its tokens lie in, spans of characters out.

Its rules: a span holds at most as many tokens as the model reads; every token lies in some span; neighbours overlap a
little, so that a sentence at a cut is whole in one of them; and within the last part of what would fit, the cut goes to the
best place there is: the end of a paragraph, else of a line, of a sentence, of a word. Never into a word that fits, because
the pieces of a cut word are other tokens than the word.

Characters are Python's: indices of ``str``.
"""

from __future__ import annotations

from typing import NamedTuple

OVERLAP_TOKENS = 32
"""About two sentences."""

_SLACK_SHARE = 4
"""A cut may give away one part in this many of a span to come at a better place."""

_WIDE_ENDS = frozenset("\u3002\uff01\uff1f")
"""The full stop, exclamation and question mark of scripts that put no space after a sentence."""

_SENTENCE_ENDS = frozenset(".!?\u2026") | _WIDE_ENDS
_CLOSERS = "\"')]}\u00bb\u201d\u2019\u300d\u300f\uff09"
_CLOSERS_MAX = 8


class Token(NamedTuple):
    """Where one token lies. Tokens come in the order of the text; several may share a character."""

    start: int
    end: int
    word: int | None
    """The word it is part of: neighbours with the same number are one word. ``None`` is a word of its own."""


class Span(NamedTuple):
    """A stretch of a text, end exclusive, and how many tokens it holds."""

    start: int
    end: int
    tokens: int


def spans(text: str, tokens: list[Token], *, tokens_max: int, overlap: int = OVERLAP_TOKENS) -> list[Span]:
    """Return the spans of ``text``: one, the whole of it, if it is short."""
    if len(tokens) <= tokens_max:
        return [Span(0, len(text), len(tokens))]
    found: list[Span] = []
    first = covered = 0
    while len(tokens) - first > tokens_max:
        after = _cut(text, tokens, first, first + tokens_max)
        if after <= covered:  # a word that does not fit behind the overlap: begin with the word
            first = covered
            continue
        found.append(_span(text, tokens, first, after))
        covered = after
        first = _restart(text, tokens, first, after, overlap)
    found.append(_span(text, tokens, first, len(tokens)))
    return found


def _span(text: str, tokens: list[Token], first: int, after: int) -> Span:
    # Characters that make no token (a combining accent the model ignores) go with the token before them.
    start = tokens[first].start if first else 0
    limit = tokens[after].start if after < len(tokens) else len(text)
    end = max(tokens[after - 1].end, start + len(text[start:limit].rstrip()))
    return Span(start, end, after - first)


def _cut(text: str, tokens: list[Token], first: int, limit: int) -> int:
    """Return the token before which the span from ``first`` ends best: ``limit`` or a little before it."""
    earliest = limit - (limit - first) // _SLACK_SHARE
    best, best_rank = 0, 0
    for after in range(limit, earliest - 1, -1):
        rank = _rank(text, tokens, after)
        if rank > best_rank:
            best, best_rank = after, rank
    if best:
        return best
    for after in range(earliest - 1, first, -1):  # the window ends within one long word: leave the word to the next span
        if _rank(text, tokens, after):
            return after
    return limit  # a word longer than a span: it can't but be cut


def _restart(text: str, tokens: list[Token], first: int, after: int, overlap: int) -> int:
    """Return the token the next span begins with: at the start of a sentence or a word within the overlap."""
    earliest = max(after - overlap, first + 1)
    best, best_rank = after, 0
    for start in range(earliest, after):
        rank = min(_rank(text, tokens, start), _SENTENCE)
        if rank > best_rank:
            best, best_rank = start, rank
    return best


_WORD, _SENTENCE, _LINE, _PARAGRAPH = 1, 2, 3, 4


def _rank(text: str, tokens: list[Token], index: int) -> int:
    """Return how good a place the gap before token ``index`` is to cut; 0 within a word or a character."""
    before, after = tokens[index - 1], tokens[index]
    if after.start < before.end or (after.word is not None and after.word == before.word):
        return 0
    gap = text[before.end : after.start]
    newlines = gap.count("\n")
    if newlines:
        return _PARAGRAPH if newlines > 1 else _LINE
    last = text[max(0, before.end - _CLOSERS_MAX) : before.end].rstrip(_CLOSERS)[-1:]
    return _SENTENCE if last in _WIDE_ENDS or (gap and last in _SENTENCE_ENDS) else _WORD
