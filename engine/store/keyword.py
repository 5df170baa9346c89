"""Words: which memories hold which terms of a query, and how well FTS5's bm25 says they fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apsw
import msgspec

from engine.store.selection import Selection

# The plus keeps the ids away from FTS5, which would otherwise run the whole MATCH once for each of them.
_BM25_OF = (
    "SELECT rowid, -bm25(memories_fts) FROM memories_fts"
    " WHERE memories_fts MATCH ? AND +rowid IN (SELECT value FROM json_each(?))"
)
_HOLDERS = "SELECT rowid FROM memories_fts WHERE memories_fts MATCH ? AND +rowid IN (SELECT value FROM json_each(?))"
_FREQUENCY = "SELECT doc FROM memories_vocabulary WHERE term = ?"


class Tokenizer:
    """The tokenizer of the index, for texts outside of it."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._tokenizer = connection.fts5_tokenizer("porter", ["unicode61", "remove_diacritics", "2"])

    def __call__(self, text: bytes) -> list[tuple[int, int, str]]:
        """Return the tokens of a UTF-8 text, each with where it starts and ends in bytes."""
        tokens: Any = self._tokenizer(text, apsw.FTS5_TOKENIZE_DOCUMENT, None, include_colocated=False)
        return list(tokens)


def best(connection: apsw.Connection, match: str, selection: Selection, *, limit: int, now: int) -> dict[int, float]:
    """Return the ``limit`` selected memories with the highest bm25 for a MATCH expression; higher is better.

    FTS5's own ``bm25()`` is negative, the best lowest: its sign is turned in this module and nowhere else.
    """
    condition, parameters = selection.condition(now)
    rows = connection.execute(
        "SELECT m.id, -bm25(memories_fts) FROM memories_fts JOIN memories AS m ON m.id = memories_fts.rowid"  # noqa: S608
        f" WHERE memories_fts MATCH ? AND {condition} ORDER BY bm25(memories_fts), m.id DESC LIMIT ?",
        (match, *parameters, limit),
    )
    return {row[0]: row[1] for row in rows}


def bm25_of(connection: apsw.Connection, match: str, ids: Iterable[int]) -> dict[int, float]:
    """Return the bm25 of given memories; those that do not match are left out."""
    return {row[0]: row[1] for row in connection.execute(_BM25_OF, (match, _json(ids)))}


def holders(connection: apsw.Connection, term_match: str, ids: Iterable[int]) -> list[int]:
    """Return which of ``ids`` hold a term, given as a MATCH expression."""
    return [row[0] for row in connection.execute(_HOLDERS, (term_match, _json(ids)))]


def document_frequencies(connection: apsw.Connection, terms: Sequence[str], tokenize: Tokenizer) -> list[int]:
    """Return for each term how many memories hold it. A term of several tokens counts as its rarest."""
    frequencies = []
    for term in terms:
        counts = [connection.execute(_FREQUENCY, (token,)).get or 0 for _, _, token in tokenize(term.encode())]
        frequencies.append(min(counts, default=0))
    return frequencies


def _json(ids: Iterable[int]) -> str:
    return msgspec.json.encode(list(ids)).decode()
