"""Words: which memories hold which terms of a query, and how well FTS5's bm25 says they fit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import apsw
import msgspec

from engine.recall.query import Query
from engine.store import corrections, vocabulary
from engine.store.selection import Selection
from engine.store.tokenizer import Tokenizer

BM25 = "bm25(memories_fts, 1.0, 1.0, 0.1, 0.5)"
"""The weights of content, tags, workspace and metadata. A whole workspace shares its name: it says next to nothing."""

RANKED_MAX = 5_000
"""Matches that one query may have ranked: 3 ms. In a larger store, its commonest words no longer propose memories."""

FEW = 10
"""Hits, as many as a page shows. With fewer, a short word that no memory holds is taken for a slip of the finger too."""

LONG_WORD_LETTERS = 6
"""A word as long as this that no memory holds is taken for a slip whatever else was found: it has few neighbours by chance."""

_RARE = 50
"""Of a word that more memories hold than this, it is not asked whether any may be seen: that could take as many steps."""

# Looking at the row of every match takes as long as ranking them; where nearly all may be seen, the best alone are looked at.
_BEST = f"SELECT rowid, -{BM25} AS fit FROM memories_fts WHERE memories_fts MATCH ? ORDER BY fit DESC, rowid DESC LIMIT ?"  # noqa: S608
_SELECTED = "SELECT m.id FROM json_each(?) AS j CROSS JOIN memories AS m ON m.id = j.value WHERE {}"
_BEST_SELECTED = (
    f"SELECT m.id, -{BM25} AS fit FROM memories_fts JOIN memories AS m ON m.id = memories_fts.rowid"  # noqa: S608
    " WHERE memories_fts MATCH ? AND {} ORDER BY fit DESC, m.id DESC LIMIT ?"
)
# The plus keeps the ids away from FTS5, which would otherwise run the whole MATCH once for each of them.
_HOLDERS = """
    SELECT j.key, f.rowid FROM json_each(?) AS j CROSS JOIN memories_fts AS f
    WHERE f.memories_fts MATCH j.value AND +f.rowid IN (SELECT value FROM json_each(?))
"""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the words of a query found."""

    query: Query
    """The query with what stands in for some of its terms. Its ``terms`` are those that were given, in the same order."""
    match: str = ""
    """The MATCH expression that found them: the strict one if anything holds what was quoted. '' when nothing was asked."""
    bm25: dict[int, float] = field(default_factory=dict)
    frequencies: tuple[int, ...] = ()
    """For each of the query's terms, how many memories hold it, or what stands in for it."""
    corrected: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """For each term that no memory holds, as typed, the words that stand in for it because they are spelled nearly so.

    To whoever ranks: it may not have been a slip, so such a term is to count for less than one that was found as typed.
    """


def find(
    connection: apsw.Connection, query: Query, selection: Selection, *, tokenize: Tokenizer, limit: int, now: int
) -> Found:
    """Return the ``limit`` selected memories that the words of a query fit best.

    What is quoted must be there, unless that leaves nothing. Slips of the finger are forgiven in words that no memory holds.
    """
    if query.is_empty:
        return Found(query=query)
    starred = {term: vocabulary.expansions(connection, term[:-1], tokenize) for term in query.terms if term.endswith("*")}
    query = query.with_stand_ins({term: words for term, words in starred.items() if words})
    frequencies = tuple(document_frequencies(connection, query.terms, tokenize))
    proposing = _proposing(query.terms, frequencies, limit)
    match, bm25 = _best_of(connection, query, proposing, selection, limit=limit, now=now)
    doubtful = [
        term
        for term, frequency in zip(query.terms, frequencies, strict=True)
        if frequency <= _RARE and (len(bm25) < FEW or len(term) >= LONG_WORD_LETTERS) and not _is_quoted(term, query)
    ]
    corrected = corrections.find(connection, doubtful, selection, tokenize=tokenize, now=now) if doubtful else {}
    if corrected:
        query = query.with_stand_ins(corrected)
        match, bm25 = _best_of(connection, query, proposing, selection, limit=limit, now=now)
        counted = {term: sum(document_frequencies(connection, words, tokenize)) for term, words in corrected.items()}
        frequencies = tuple(counted.get(term, count) for term, count in zip(query.terms, frequencies, strict=True))
    return Found(query=query, match=match, bm25=bm25, frequencies=frequencies, corrected=corrected)


def best(connection: apsw.Connection, match: str, selection: Selection, *, limit: int, now: int) -> dict[int, float]:
    """Return the ``limit`` selected memories with the highest bm25 for a MATCH expression; higher is better.

    FTS5's own ``bm25()`` is negative, the best lowest: its sign is turned in this module and nowhere else.
    """
    condition, parameters = selection.condition(now)
    if selection.is_everything:
        asked = 2 * limit
        fits: dict[int, float] = {row[0]: row[1] for row in connection.execute(_BEST, (match, asked))}
        ranked = list(fits)
        selected: set[int] = set()
        for asked_about in (ranked[:limit], ranked[limit:]):  # as a rule all of the first half may be seen
            if asked_about and len(selected) < limit:
                rows = connection.execute(_SELECTED.format(condition), (_json(asked_about), *parameters))
                selected.update(row[0] for row in rows)
        if len(selected) >= limit or len(fits) < asked:
            return dict([(memory_id, fit) for memory_id, fit in fits.items() if memory_id in selected][:limit])
    rows = connection.execute(_BEST_SELECTED.format(condition), (match, *parameters, limit))
    return {row[0]: row[1] for row in rows}


def terms_held(connection: apsw.Connection, query: Query, ids: Iterable[int]) -> dict[int, frozenset[int]]:
    """Return for each of ``ids`` which of the query's terms it holds, as positions among them.

    Memories that hold the same terms share one set, so that what is made of it is quickly found again.
    """
    held = dict.fromkeys(ids, 0)
    for position, memory_id in connection.execute(_HOLDERS, (msgspec.json.encode(query.term_matches).decode(), _json(held))):
        held[memory_id] |= 1 << position
    sets = {bits: frozenset(at for at in range(len(query.terms)) if bits >> at & 1) for bits in set(held.values())}
    return {memory_id: sets[bits] for memory_id, bits in held.items()}


def document_frequencies(connection: apsw.Connection, terms: Sequence[str], tokenize: Tokenizer) -> list[int]:
    """Return for each term how many memories hold it, seen or not."""
    return vocabulary.frequencies(connection, terms, tokenize)


def _proposing(terms: Sequence[str], frequencies: Sequence[int], limit: int) -> set[str]:
    """Return the terms whose holders are ranked: the rarest, as many as ``RANKED_MAX`` allows, but for ``limit`` holders."""
    proposing: set[str] = set()
    matches = 0
    for frequency, term in sorted(zip(frequencies, terms, strict=True)):
        if matches >= limit and matches + frequency > RANKED_MAX:
            break
        matches += frequency
        proposing.add(term)
    return proposing


def _best_of(
    connection: apsw.Connection, query: Query, proposing: Collection[str], selection: Selection, *, limit: int, now: int
) -> tuple[str, dict[int, float]]:
    """Return what the strict expression finds, or, if that is nothing, the other one; and which it was."""
    if query.strict_match:
        found = best(connection, query.strict_match, selection, limit=limit, now=now)
        if found:
            return query.strict_match, found
    match = query.match_of(proposing)
    found = best(connection, match, selection, limit=limit, now=now)
    if len(found) < limit and match != query.match:  # the rarer words are in memories that were not asked for
        return query.match, best(connection, query.match, selection, limit=limit, now=now)
    return match, found


def _is_quoted(term: str, query: Query) -> bool:
    return any(term.lower() in text.lower().split() for text in query.quoted)


def _json(ids: Iterable[int]) -> str:
    return msgspec.json.encode(list(ids)).decode()
