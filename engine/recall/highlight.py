"""Shows where in a memory the query's words stand: short stretches of its content, the words between ** and **.

Words are compared the way the index does it, by a tokenizer handed in. Nothing is added but the asterisks: no ellipsis, so that
an excerpt without its marks can be found again in the content.

A script without spaces has tokens that overlap: a letter, and the pair that begins with it. What meets is marked as one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

Tokenize = Callable[[str], Iterable[tuple[int, int, str]]]
"""Gives each token of a text with where it starts and ends, in characters, in order."""

EXCERPTS_MAX = 3
EXCERPT_CHARACTERS = 160
CONTENT_CHARACTERS_MAX = 50_000
"""Words deeper in a memory are found but not shown: a page of results must not cost the tokenizing of a hundred books."""

FOLDED_CHARACTERS_MAX = 10_000
"""The same for what is not ASCII, which costs ten times as much: each letter has to be traced back to where it stood."""

FOUND_MAX = 1000
"""Occurrences looked at in one memory: choosing among them costs more than finding them."""

MARK = "**"


class _Found(NamedTuple):
    start: int
    end: int
    token: str


def highlight(content: str, terms: Iterable[str], tokenize: Tokenize) -> list[str]:
    """Return up to ``EXCERPTS_MAX`` excerpts, in the order of the content. Each shows a term that the others do not."""
    wanted = _Wanted(terms, tokenize)
    content = content[: CONTENT_CHARACTERS_MAX if content.isascii() else FOLDED_CHARACTERS_MAX]
    found = _find(content, wanted, tokenize) if wanted else []
    excerpts: list[tuple[int, int, str]] = []
    for first, last in _groups(found):
        start, end = _around(content, found[first].start, found[last - 1].end)
        # Two stretches share no word, yet what surrounds them may meet: the first chosen has the place.
        if all(end <= other_start or other_end <= start for other_start, other_end, _ in excerpts):
            inside = [word for word in found if start <= word.start and word.end <= end]
            excerpts.append((start, end, _mark(content, start, end, inside)))
    return [excerpt for _, _, excerpt in sorted(excerpts)]


class _Wanted:
    """What to mark: the tokens of the terms, and what begins like a term with a star at its end."""

    def __init__(self, terms: Iterable[str], tokenize: Tokenize) -> None:
        terms = tuple(terms)
        self.tokens = {token for term in terms for token in _outermost(tokenize(term))}
        self.beginnings = tuple(term[:-1].casefold() for term in terms if len(term) > 1 and term.endswith("*"))

    def __bool__(self) -> bool:
        return bool(self.tokens)

    def holds(self, token: str, content: str, start: int, end: int) -> bool:
        if token in self.tokens:
            return True
        return bool(self.beginnings) and content[start:end].casefold().startswith(self.beginnings)


def _outermost(tokens: Iterable[tuple[int, int, str]]) -> list[str]:
    """Return the tokens that lie in no other: of a run its pairs, and a letter only if it stands alone."""
    found: list[tuple[int, int, str]] = []
    for start, end, token in sorted(tokens, key=lambda token: (token[0], -token[1])):
        if not found or end > found[-1][1]:
            found.append((start, end, token))
    return [token for _, _, token in found]


def _find(content: str, wanted: _Wanted, tokenize: Tokenize) -> list[_Found]:
    found: list[_Found] = []
    at = 0
    for start, end, token in tokenize(content):
        # Of a token that overlaps the one before, what is new is marked.
        if end > at and wanted.holds(token, content, start, end):
            found.append(_Found(max(start, at), end, token))
            at = end
            if len(found) == FOUND_MAX:
                break
    return found


def _groups(found: Sequence[_Found]) -> list[tuple[int, int]]:
    """Choose stretches of ``found`` that fit into an excerpt, the one with the most different words first.

    A further stretch must show a word that none before it shows: whoever pays by the token wants no word twice.
    """
    chosen: list[tuple[int, int]] = []
    starts = [word.start for word in found]
    shown: set[str] = set()
    while len(chosen) < EXCERPTS_MAX:
        missing = {word.token for word in found} - shown
        best: tuple[int, int] | None = None
        best_new = 0
        for first, word in enumerate(found):
            if best_new == len(missing):
                break
            if word.token in shown:
                continue
            last = max(first + 1, bisect_right(starts, word.start + EXCERPT_CHARACTERS // 2))
            new = len(missing.intersection(other.token for other in found[first:last]))
            if new > best_new:
                best, best_new = (first, last), new
        if best is None:
            break
        chosen.append(best)
        shown.update(word.token for word in found[best[0] : best[1]])
    return chosen


def _around(content: str, start: int, end: int) -> tuple[int, int]:
    """Widen a stretch to an excerpt's length, with as much before it as after, and cut between words where there is room."""
    room = max(0, EXCERPT_CHARACTERS - (end - start))
    left = max(0, min(start - room // 2, len(content) - EXCERPT_CHARACTERS))
    right = min(len(content), max(end, left + EXCERPT_CHARACTERS))
    if left > 0:
        left = next((at + 1 for at in range(left - 1, start) if content[at].isspace()), left)
    if right < len(content):
        right = next((at for at in range(right, end - 1, -1) if content[at].isspace()), right)
    return left, right


def _mark(content: str, start: int, end: int, words: Sequence[_Found]) -> str:
    parts: list[str] = []
    at = start
    for position, word in enumerate(words):
        if position and word.start == at:
            parts.pop()
        else:
            parts += (content[at : word.start], MARK)
        parts += (content[word.start : word.end], MARK)
        at = word.end
    parts.append(content[at:end])
    return "".join(parts).strip()
