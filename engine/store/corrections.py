"""Slips of the finger: the word that was meant, as the memories have it that the caller may see.

The vocabulary proposes, the memories decide. It holds stems of all workspaces and of the trash; what is told comes out of a
memory that was selected, and is spelled as it is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import apsw

from engine.recall import spelling
from engine.recall.query import Query
from engine.recall.segmentation import runs, search_text
from engine.store import vocabulary
from engine.store.selection import Selection
from engine.store.tokenizer import Tokenizer

CORRECTED_TERMS_MAX = 4
CORRECTIONS_MAX = 3
"""Words that one term may have been meant for."""

_TRIED_MAX = 8
_READ_MAX = 20
_READ_CHARACTERS_MAX = 4000
"""To see how a stem is really spelled, so many of its memories are read, each so far."""

_TEXTS = (
    "SELECT m.content || ' ' || m.tags || ' ' || m.metadata FROM memories_fts JOIN memories AS m ON m.id = memories_fts.rowid"
    " WHERE memories_fts MATCH ? AND {} LIMIT ?"
)


def find(
    connection: apsw.Connection, terms: Iterable[str], selection: Selection, *, tokenize: Tokenizer, now: int
) -> dict[str, tuple[str, ...]]:
    """Return for each term that no selected memory holds the words, nearly spelled so, that one does.

    Terms with a digit, short ones and beginnings are left as they are. No word is told that only hidden memories hold.
    """
    corrected: dict[str, tuple[str, ...]] = {}
    for term in terms:
        words = [] if runs(term) or term.endswith("*") else tokenize.words(search_text(term))
        if len(corrected) == CORRECTED_TERMS_MAX:
            break
        if len(words) != 1 or not spelling.edits_max(words[0]) or any(_holding(connection, term, selection, now, limit=1)):
            continue
        near = vocabulary.near(connection, words[0], tokenize)[:_TRIED_MAX]
        spelled = (_as_written(connection, word, words[0], selection, tokenize=tokenize, now=now) for word in near)
        held = tuple(word for word in spelled if word is not None)[:CORRECTIONS_MAX]
        if held:
            corrected[term] = held
    return corrected


def _holding(connection: apsw.Connection, word: str, selection: Selection, now: int, *, limit: int) -> Iterator[str]:
    """Yield the texts of selected memories that hold a word."""
    condition, parameters = selection.condition(now)
    rows = connection.execute(_TEXTS.format(condition), (Query(terms=(word,)).match, *parameters, limit))
    return (str(row[0]) for row in rows)


def _as_written(
    connection: apsw.Connection, guess: str, typed: str, selection: Selection, *, tokenize: Tokenizer, now: int
) -> str | None:
    """Return a word of a selected memory that has the stem of ``guess`` and is nearly spelled like ``typed``, if any has."""
    stems = tokenize.stems(guess)
    for text in _holding(connection, guess, selection, now, limit=_READ_MAX):
        shown = text[:_READ_CHARACTERS_MAX]
        for start, end, token in tokenize(shown):
            if [token] == stems:
                words = tokenize.words(search_text(shown[start:end]))
                if len(words) == 1 and spelling.edits(words[0], typed, spelling.edits_max(typed)) <= spelling.edits_max(typed):
                    return words[0]
    return None
