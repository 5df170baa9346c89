"""Shows where in a memory the query's words stand: short stretches of its content, the words between ** and **.

Words are compared the way the index does it, by a tokenizer handed in. Nothing is added but the asterisks: no ellipsis, so that
an excerpt without its marks can be found again in the content.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

Tokenize = Callable[[bytes], Iterable[tuple[int, int, str]]]
"""Gives each token of a UTF-8 text with where it starts and ends, in bytes."""

EXCERPTS_MAX = 3
EXCERPT_CHARACTERS = 160
CONTENT_CHARACTERS_MAX = 50_000
"""Words deeper in a memory are found but not shown: a page of results must not cost the tokenizing of a hundred books."""

FOUND_MAX = 1000
"""Occurrences looked at in one memory: choosing among them costs more than finding them."""

MARK = "**"


class _Found(NamedTuple):
    start: int  # in characters, as everything but what the tokenizer says
    end: int
    token: str


def highlight(content: str, terms: Iterable[str], tokenize: Tokenize) -> list[str]:
    """Return up to ``EXCERPTS_MAX`` excerpts, in the order of the content. Each shows a term that the others do not."""
    wanted = {token for term in terms for _, _, token in tokenize(_encode(term))}
    content = content[:CONTENT_CHARACTERS_MAX]
    found = _find(content, wanted, tokenize) if wanted else []
    excerpts: list[tuple[int, int, str]] = []
    for first, last in _groups(found):
        start, end = _around(content, found[first].start, found[last - 1].end)
        # Two stretches share no word, yet what surrounds them may meet: the first chosen has the place.
        if all(end <= other_start or other_end <= start for other_start, other_end, _ in excerpts):
            inside = [word for word in found if start <= word.start and word.end <= end]
            excerpts.append((start, end, _mark(content, start, end, inside)))
    return [excerpt for _, _, excerpt in sorted(excerpts)]


def _find(content: str, wanted: set[str], tokenize: Tokenize) -> list[_Found]:
    data = _encode(content)
    ascii_only = len(data) == len(content)
    found: list[_Found] = []
    byte = character = 0
    for start, end, token in tokenize(data):
        # A tokenizer may give synonyms at one place; only what lies behind the last word found can be marked.
        if token in wanted and byte <= start < end:
            if ascii_only:
                found.append(_Found(start, end, token))
            else:
                first = character + _length(data[byte:start])
                character = first + _length(data[start:end])
                found.append(_Found(first, character, token))
            byte = end
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
    for word in words:
        parts += (content[at : word.start], MARK, content[word.start : word.end], MARK)
        at = word.end
    parts.append(content[at:end])
    return "".join(parts).strip()


def _encode(text: str) -> bytes:
    # A lone surrogate is not UTF-8, but it must not cost a result: three bytes that no word contains.
    return text.encode("utf-8", "surrogatepass")


def _length(data: bytes) -> int:
    """Return how many characters begin in ``data``."""
    return sum(byte & 0xC0 != 0x80 for byte in data)
