"""The tokenizer of the index, for texts outside of it: what are the words of a text, and where do they stand?"""

from __future__ import annotations

from typing import Any

import apsw

from engine.recall.folding import fold_aligned
from engine.recall.segmentation import runs, units

WORDS = ("unicode61", "remove_diacritics", "2", "categories", "L* N* Co M*")
"""Without M*, the marks of Hindi, Thai or Arabic would take their words apart. ``0003_words.sql`` names the same."""

Token = tuple[int, int, str]
"""Where it starts and ends, in characters, and its word as the index has it."""


class Tokenizer:
    """Finds the words of texts as the index does."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._stemming = connection.fts5_tokenizer("porter", list(WORDS))
        self._plain = connection.fts5_tokenizer(WORDS[0], list(WORDS[1:]))

    def __call__(self, text: str) -> list[Token]:
        """Return the tokens of a text as it was written, in order. In a run, each pair of letters and each letter is one."""
        if text.isascii():
            return self._tokens(self._stemming, text.encode())
        folded, places = fold_aligned(text)
        spans = runs(folded)
        found = self._outside(folded, spans) + [token for span in spans for token in _inside(folded, *span)]
        found.sort()
        return [(places[start][0], places[end - 1][1], word) for start, end, word in found]

    def stems(self, prepared: str) -> list[str]:
        """Return the index's tokens for a text that ``search_text`` or ``phrase`` has prepared."""
        return [word for _, _, word in self._tokens(self._stemming, prepared.encode("utf-8", "replace"))]

    def words(self, prepared: str) -> list[str]:
        """Return the same tokens before they were stemmed."""
        return [word for _, _, word in self._tokens(self._plain, prepared.encode("utf-8", "replace"))]

    def _outside(self, folded: str, spans: list[tuple[int, int]]) -> list[Token]:
        """Return the tokens between the runs, counted in characters."""
        parts: list[str] = []
        at = 0
        for start, end in spans:
            parts += (folded[at:start], " " * (end - start))
            at = end
        # A lone surrogate is not UTF-8, but it must not cost a result: it becomes one character that no word contains.
        data = "".join((*parts, folded[at:])).encode("utf-8", "replace")
        tokens: list[Token] = []
        byte = character = 0
        for start, end, word in self._tokens(self._stemming, data):
            first = character + _length(data[byte:start])
            character = first + _length(data[start:end])
            byte = end
            tokens.append((first, character, word))
        return tokens

    @staticmethod
    def _tokens(tokenizer: Any, data: bytes) -> list[Token]:
        return list(tokenizer(data, apsw.FTS5_TOKENIZE_DOCUMENT, None, include_colocated=False))


def _inside(folded: str, start: int, end: int) -> list[Token]:
    """Return the tokens of a run."""
    letters = units(folded[start:end])
    tokens: list[Token] = []
    at = start
    for position, letter in enumerate(letters):
        after = at + len(letter)
        tokens.append((at, after, letter))
        if position + 1 < len(letters):
            tokens.append((at, after + len(letters[position + 1]), letter + letters[position + 1]))
        at = after
    return tokens


def _length(data: bytes) -> int:
    """Return how many characters begin in ``data``."""
    return sum(byte & 0xC0 != 0x80 for byte in data)
