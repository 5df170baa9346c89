"""Search: gathers the evidence that words and vectors give, and has it weighed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from engine.catalogue.search import SEARCH, Explanation, Hit, MemorySearch, SearchResult
from engine.protocol import Embedding, ErrorCode, RemoteError, Request
from engine.recall import fusion
from engine.recall.fusion import Candidate, Corpus, Ranked, Spread
from engine.recall.highlight import highlight
from engine.recall.query import Query, parse
from engine.store import keyword, memories, passages
from engine.store.database import Database
from engine.store.passages import Nearness
from engine.store.selection import Selection
from engine.tools.handler import Handler

CANDIDATES = 200
"""How many memories each kind of evidence may propose. Beyond the best 200 of either, nothing has come to the top ten."""


@dataclass
class _Evidence:
    bm25: dict[int, float] = field(default_factory=dict)
    nearness: dict[int, Nearness] = field(default_factory=dict)
    spread: Spread = field(default_factory=Spread)


def search(database: Database, arguments: MemorySearch, request: Request) -> SearchResult:
    """Find memories. ``mode`` of the answer says what could really be done."""
    started = time.perf_counter()
    query = parse(arguments.query)
    embedding = request.embeddings[0] if request.embeddings else None
    mode = _mode(database, arguments, embedding)
    evidence = _gather(database, arguments, query, embedding, mode)
    ranked = _rank(database, query, evidence, mode, arguments.limit)
    found = memories.get_many(database.connection, (entry.id for entry in ranked), database.now())
    hits = [
        Hit(
            memory=found[entry.id],
            score=entry.score,
            highlights=highlight(found[entry.id].content, query.terms, database.tokenize),
            explain=_explanation(entry, evidence.nearness.get(entry.id)) if arguments.explain else None,
        )
        for entry in ranked
        if entry.id in found
    ]
    return SearchResult(results=hits, mode=mode, took_ms=round((time.perf_counter() - started) * 1000, 3))


def _mode(database: Database, arguments: MemorySearch, embedding: Embedding | None) -> fusion.Mode:
    """Return what can be done: without the query's vector, or before the first memory has one, only words are left."""
    if arguments.mode == "keyword":
        return "keyword"
    if arguments.mode == "semantic" and not arguments.query.strip():
        return "keyword"
    if arguments.mode == "semantic":
        if embedding is None:
            raise RemoteError(ErrorCode.UNAVAILABLE, "meaning can't be searched right now", retry_after=1)
        return "semantic"
    return "keyword" if embedding is None or passages.model(database.connection) is None else "hybrid"


def _gather(
    database: Database, arguments: MemorySearch, query: Query, embedding: Embedding | None, mode: fusion.Mode
) -> _Evidence:
    """Let each kind of evidence propose its best, then ask each about what the other has proposed."""
    connection, now = database.connection, database.now()
    selection = Selection(workspace=arguments.workspace, type=arguments.type, tags=arguments.tags, tier=arguments.tier)
    evidence = _Evidence()
    if mode != "semantic" and not query.is_empty:
        evidence.bm25 = keyword.best(connection, query.match, selection, limit=CANDIDATES, now=now)
    if mode != "keyword" and embedding is not None:
        evidence.nearness, evidence.spread = passages.nearest(connection, embedding, selection, limit=CANDIDATES, now=now)
        evidence.nearness |= passages.nearness(connection, embedding, evidence.bm25.keys() - evidence.nearness.keys())
    if mode == "hybrid" and not query.is_empty:
        evidence.bm25 |= keyword.bm25_of(connection, query.match, evidence.nearness.keys() - evidence.bm25.keys())
    return evidence


def _rank(database: Database, query: Query, evidence: _Evidence, mode: fusion.Mode, limit: int) -> list[Ranked]:
    connection = database.connection
    ids = evidence.bm25.keys() | evidence.nearness.keys()
    matched: dict[int, list[int]] = {memory_id: [] for memory_id in ids}
    frequencies: list[int] = []
    if evidence.bm25:
        frequencies = keyword.document_frequencies(connection, query.terms, database.tokenize)
        for position, term_match in enumerate(query.term_matches):
            for memory_id in keyword.holders(connection, term_match, evidence.bm25):
                matched[memory_id].append(position)
    candidates = [
        Candidate(
            id=memory_id,
            bm25=evidence.bm25.get(memory_id, 0.0),
            matched=matched[memory_id],
            cosine=evidence.nearness[memory_id].cosine if memory_id in evidence.nearness else None,
        )
        for memory_id in ids
    ]
    corpus = Corpus(memories=memories.count(connection), document_frequencies=frequencies, spread=evidence.spread)
    return fusion.fuse(candidates, corpus, mode, limit=limit)


def _explanation(entry: Ranked, nearness: Nearness | None) -> Explanation:
    return Explanation(
        bm25=entry.bm25,
        coverage=entry.coverage,
        keyword=entry.keyword,
        cosine=entry.cosine,
        semantic=entry.semantic,
        passage=None if nearness is None else (nearness.start, nearness.end),
    )


HANDLERS: dict[str, Handler] = {SEARCH.name: search}
