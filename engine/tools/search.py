"""Search: has the evidence gathered and weighed, and shows what was found."""

from __future__ import annotations

import time
from datetime import datetime
from functools import cache

from engine.catalogue.memory import Memory
from engine.catalogue.search import EXCERPT_CHARACTERS_MAX, SEARCH, Explanation, Hit, MemorySearch, SearchResult
from engine.protocol import Embedding, ErrorCode, RemoteError, Request
from engine.protocol.errors import invalid
from engine.protocol.moment import from_datetime
from engine.recall import fusion
from engine.recall.exact import is_exact
from engine.recall.fusion import Mode, Ranked
from engine.recall.highlight import MARK, Tokenize, highlight
from engine.recall.query import parse
from engine.store import embedding_models, memories
from engine.store.database import Database
from engine.store.meaning import Nearness
from engine.store.selection import Selection
from engine.tools.evidence import Evidence, gather
from engine.tools.handler import Handler


def search(database: Database, arguments: MemorySearch, request: Request) -> SearchResult:
    """Find memories. ``mode`` of the answer says what could really be done."""
    started = time.perf_counter()
    embedding = request.embeddings[0] if request.embeddings else None
    mode = _mode(database, arguments, embedding)
    evidence = gather(database, arguments, _selection(arguments), embedding, mode)
    if arguments.mode == "auto" and mode == "hybrid" and is_exact(arguments.query) and _holds_all(evidence):
        mode = "keyword"
    ranked = fusion.fuse(evidence.candidates, evidence.corpus, mode, limit=arguments.limit)
    found = memories.get_many(database.connection, (entry.id for entry in ranked), database.now())
    sought = parse(arguments.query).sought if mode == "semantic" else evidence.found.query.sought
    tokenize = cache(database.tokenize)  # each hit is shown by the same terms
    hits = [
        _hit(tokenize, arguments, evidence, entry, found[entry.id], sought)
        for entry in ranked
        if entry.id in found and entry.score >= arguments.min_score
    ]
    corrected = {term: list(words) for term, words in evidence.found.corrected.items()}
    took_ms = round((time.perf_counter() - started) * 1000, 3)
    return SearchResult(results=hits, mode=mode, took_ms=took_ms, corrected=corrected)


def _mode(database: Database, arguments: MemorySearch, embedding: Embedding | None) -> Mode:
    """Return what can be done: without the query's vector, or before the first memory has one, only words are left."""
    if arguments.mode == "keyword":
        return "keyword"
    if arguments.mode == "semantic" and not arguments.query.strip():
        return "keyword"
    if arguments.mode == "semantic":
        if embedding is None:
            raise RemoteError(ErrorCode.UNAVAILABLE, "meaning can't be searched right now", retry_after=1)
        return "semantic"
    return "keyword" if embedding is None or embedding_models.active(database.connection) is None else "hybrid"


def _selection(arguments: MemorySearch) -> Selection:
    if arguments.scope is not None and arguments.scope.type == "global" and arguments.scope.id is not None:
        raise invalid("scope.id", "the global scope has no id")
    return Selection(
        workspace=arguments.workspace,
        type=arguments.type,
        tags=arguments.tags,
        tier=arguments.tier,
        scope=arguments.scope,
        filter=arguments.filter,
        event_after=_moment(arguments.event_after),
        event_before=_moment(arguments.event_before),
        created_after=_moment(arguments.created_after),
        created_before=_moment(arguments.created_before),
    )


def _moment(moment: datetime | None) -> int | None:
    return None if moment is None else from_datetime(moment)


def _holds_all(evidence: Evidence) -> bool:
    terms = len(evidence.found.query.terms)
    return terms > 0 and any(len(candidate.matched) == terms for candidate in evidence.candidates)


def _hit(
    tokenize: Tokenize, arguments: MemorySearch, evidence: Evidence, entry: Ranked, memory: Memory, sought: tuple[str, ...]
) -> Hit:
    highlights = highlight(memory.content, sought, tokenize)
    nearness = evidence.nearness.get(entry.id) if entry.semantic is not None else None
    hit = Hit(
        score=entry.score,
        passage=_part(nearness, memory.content),
        explain=_explanation(entry, evidence, nearness) if arguments.explain else None,
    )
    if arguments.compact:
        hit.id, hit.type, hit.tags = memory.id, memory.type, memory.tags
        hit.excerpt = _excerpt(memory.content, highlights, nearness)
    else:
        hit.memory, hit.highlights = memory, highlights
    return hit


def _part(nearness: Nearness | None, content: str) -> tuple[int, int] | None:
    if nearness is None or (nearness.start == 0 and nearness.end >= len(content)):
        return None
    return nearness.start, nearness.end


def _excerpt(content: str, highlights: list[str], nearness: Nearness | None) -> str:
    """Return the content if it is short, else the stretch with the words found, else the beginning of the best passage."""
    start = 0
    if len(content) > EXCERPT_CHARACTERS_MAX:
        found = content.find(highlights[0].replace(MARK, "")) if highlights else -1
        start = found if found >= 0 else 0 if nearness is None else nearness.start
    return content[start : start + EXCERPT_CHARACTERS_MAX].strip()


def _explanation(entry: Ranked, evidence: Evidence, nearness: Nearness | None) -> Explanation:
    return Explanation(
        bm25=entry.bm25,
        coverage=entry.coverage,
        lent=entry.lent,
        keyword=entry.keyword,
        cosine=entry.cosine,
        semantic=entry.semantic,
        session=entry.session,
        links=entry.links,
        factors=evidence.factors.get(entry.id, {}),
        passage=None if nearness is None else (nearness.start, nearness.end),
    )


HANDLERS: dict[str, Handler] = {SEARCH.name: search}
