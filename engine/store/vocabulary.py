"""The index's list of stems: how many memories hold one, which begin alike, which is near to a word that none holds.

The list knows no workspace and no trash. What it says may order an answer; whether a word is told to anybody is for a search
among the memories that they may see.

Each statement that reads the list takes longer to begin than to look up a term: many terms are asked for at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import apsw
import msgspec

from engine.recall import spelling
from engine.recall.segmentation import phrase
from engine.store.tokenizer import Tokenizer

STEMS_READ_MAX = 2000
"""Of one beginning. A vocabulary of a million has fewer with three letters in common; reading one costs 1 to 10 µs."""

EXPANSIONS_MAX = 64

_FREQUENCIES = "SELECT v.term, v.doc FROM json_each(?) AS j CROSS JOIN memories_vocabulary AS v ON v.term = j.value"
_BEGINNINGS = """
    SELECT v.term, v.doc FROM json_each(?) AS j
    CROSS JOIN memories_vocabulary AS v ON v.term >= j.value AND v.term < j.value || ? LIMIT ?
"""
_BEGINNING = "SELECT term, doc FROM memories_vocabulary WHERE term >= ? AND term < ? LIMIT ?"

_LAST = "\U0010ffff"


def frequencies(connection: apsw.Connection, terms: Sequence[str], tokenize: Tokenizer) -> list[int]:
    """Return for each term how many memories hold it: of several tokens the rarest counts, of a beginning all words with it."""
    phrases = [phrase(term.rstrip("*")) for term in terms]
    stems = [tokenize.stems(prepared) for prepared, _ in phrases]
    held = _frequencies(connection, {stem for several in stems for stem in several})
    counts = []
    for term, (prepared, is_beginning), tokens in zip(terms, phrases, stems, strict=True):
        if is_beginning or term.endswith("*"):
            whole = {stem: held.get(stem, 0) for stem in tokens[-1:]}
            counts.append(sum((_beginning_with_last_of(connection, prepared, tokenize) | whole).values()))
        else:
            counts.append(min((held.get(stem, 0) for stem in tokens), default=0))
    return counts


def expansions(connection: apsw.Connection, beginning: str, tokenize: Tokenizer) -> tuple[str, ...]:
    """Return the words to look for in place of ``beginning*``, or none if FTS5 finds them by itself.

    FTS5 stems the beginning too, and a word cut off may look like one with an ending: of ``deploy`` it makes ``deploi``, which
    is in no ``deployment``.
    """
    words = tokenize.words(phrase(beginning)[0])
    if len(words) != 1 or tokenize.stems(words[0]) == words:
        return ()
    stems = [stem for stem, _ in _begin_with(connection, words[0])[:EXPANSIONS_MAX]]
    spelled = (next((form for form in spelling.forms_of(stem) if tokenize.stems(form) == [stem]), None) for stem in stems)
    return (words[0], *(form for form in spelled if form is not None))


def near(connection: apsw.Connection, word: str, tokenize: Tokenizer) -> list[str]:
    """Return the words of the vocabulary that ``word`` may be a slip for, the likeliest first."""

    def stem_of(form: str) -> str:
        return "".join(tokenize.stems(form))

    for beginnings in spelling.beginnings(word):
        found = spelling.nearest(word, _all_that_begin(connection, beginnings), stem_of)
        if found:
            return found
    return []


def _frequencies(connection: apsw.Connection, stems: Iterable[str]) -> dict[str, int]:
    """Return for each stem that is there how many memories hold it."""
    named = msgspec.json.encode(list(stems)).decode()
    return {row[0]: row[1] for row in connection.execute(_FREQUENCIES, (named,))}


def _beginning_with_last_of(connection: apsw.Connection, prepared: str, tokenize: Tokenizer) -> dict[str, int]:
    """Return what begins with the last word of a text. Added up, a memory with several such words counts several times."""
    words = tokenize.words(prepared)[-1:]
    return dict(_begin_with(connection, words[0])) if words else {}


def _all_that_begin(connection: apsw.Connection, beginnings: Sequence[str]) -> list[tuple[str, int]]:
    """Return what begins with any of ``beginnings``, of each as much as of one alone."""
    named = msgspec.json.encode(beginnings).decode()
    rows = [(row[0], row[1]) for row in connection.execute(_BEGINNINGS, (named, _LAST, STEMS_READ_MAX))]
    if len(rows) < STEMS_READ_MAX:
        return rows
    return [row for beginning in beginnings for row in _begin_with(connection, beginning)]


def _begin_with(connection: apsw.Connection, beginning: str) -> list[tuple[str, int]]:
    rows = connection.execute(_BEGINNING, (beginning, beginning + _LAST, STEMS_READ_MAX))
    return [(row[0], row[1]) for row in rows]
