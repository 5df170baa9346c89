"""Weighs what words say against what vectors say, and puts the candidates in order. The one place where a score is made.

Each kind of evidence is measured in nats, so that independent evidence adds up and ``1 - exp(-evidence)`` is how sure it
makes: either kind can carry a memory to the top alone, and two weak ones help each other. What the numbers mean, and what was
measured, is in DESIGN.md beside this file.

It gets evidence and gives an order. It must not know where evidence comes from: no SQL, no vectors, no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import expm1, fsum, log1p
from typing import Literal

from engine.recall.spread import Scale, Spread

Mode = Literal["keyword", "semantic", "hybrid"]

COVERAGE_POWER = 1.7
"""Half of a query's words are worth a third of all: among many memories, many hold some word of a query by chance."""

BM25_SHARE = 0.05
"""How much of the keyword part depends on bm25, which tells apart memories that cover the same words."""

KEYWORD_CERTAINTY = 0.95
"""A memory may hold every word of a query and mean something else. Below 1 so that meaning still orders such memories."""

QUESTION_SHARE = 0.3
"""How much of the evidence that a question's cosine gives goes to the turn that answers it."""

SESSION_SHARE = 0.2
"""How much of a turn's evidence is that of its session's best turn."""

LINK_SHARE = 0.5
"""How much of a memory's evidence goes along a link of full strength, where links are to count in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What is known of all the memories searched, whether they are candidates or not."""

    memories: int
    """How many there are."""
    document_frequencies: Sequence[int] = ()
    """For each of the query's terms, in order, how many memories hold it. An old or rough count does no harm."""
    spread: Spread = field(default_factory=Spread)


@dataclass(slots=True, kw_only=True)  # not frozen: a search makes some hundreds, and freezing takes longer than all else of it
class Candidate:
    """One memory, and the evidence for it. Numbers must be finite."""

    id: int
    bm25: float = 0.0
    """FTS5's bm25 with its sign turned; 0 when no term matches, or when it was not asked for."""
    matched: Collection[int] = ()
    """Which of the query's terms the memory holds, as positions among them, none twice."""
    lent: Mapping[int, float] = field(default_factory=dict)
    """Terms that it does not hold itself, but what stands around it or its date does: to what degree, 0 to 1."""
    cosine: float | None = None
    """The best passage's; None while the memory waits for its vectors, or when the query has none."""
    answers: float | None = None
    """The cosine of the question that it answers."""
    session: Hashable = None
    """The session that it is a turn of."""
    links: Mapping[int, float] = field(default_factory=dict)
    """Candidates that it is linked with: how much the link counts, 0 to 1."""
    factor: float = 1.0
    """What its evidence is multiplied by, for reasons that have nothing to do with the query's words or meaning. Above 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """One memory's score and how it came about. A part that played no role is None."""

    id: int
    score: float
    """In (0, 1], higher is better."""
    bm25: float | None = None
    coverage: float | None = None
    """Share of the query's information that the matched terms carry, 0 to 1."""
    lent: float | None = None
    """Share of it that is lent, 0 to 1."""
    keyword: float | None = None
    """What bm25, coverage and what is lent contributed, 0 to 1."""
    cosine: float | None = None
    semantic: float | None = None
    """What the cosine, and that of the question it answers, contributed, 0 to 1."""
    session: float | None = None
    """What the best turn of its session contributed, 0 to 1."""
    links: float | None = None
    """What a linked memory contributed, 0 to 1."""


@dataclass(slots=True)
class _Weighed:
    candidate: Candidate
    coverage: float = 0.0
    lent: float = 0.0
    keyword: float = 0.0
    meaning: float | None = None
    """In nats, like all that follows."""
    own: float = 0.0
    session: float = 0.0
    links: float = 0.0
    score: float = 0.0


def fuse(candidates: Iterable[Candidate], corpus: Corpus, mode: Mode = "hybrid", *, limit: int | None = None) -> list[Ranked]:
    """Return the candidates that ``mode`` has evidence for, best first; the newest (highest id) first among equals.

    ``score = 1 - exp(-factor * evidence)``. The evidence is that of words, ``-ln(1 - KEYWORD_CERTAINTY * keyword)``, and that
    of meaning; for a turn of a session, partly that of the session's best turn. The modes ``keyword`` and ``semantic`` leave
    out the other part; in ``keyword``, only what holds a term itself is found.
    """
    return [_ranked(entry) for entry in _in_order(candidates, corpus, mode)[:limit]]


def best(candidates: Iterable[Candidate], corpus: Corpus, mode: Mode = "hybrid", *, limit: int | None = None) -> list[int]:
    """Return the ids of what ``fuse`` returns, for whoever doesn't ask how a score came about."""
    return [entry.candidate.id for entry in _in_order(candidates, corpus, mode)[:limit]]


def _in_order(candidates: Iterable[Candidate], corpus: Corpus, mode: Mode) -> list[_Weighed]:
    weigher = _Weigher(corpus, mode)
    weighed = [weigher.weigh(candidate) for candidate in candidates]
    weigher.finish(weighed)
    _share_within_sessions(weighed)
    _share_along_links(weighed)
    for entry in weighed:
        entry.score = -expm1(-entry.candidate.factor * (entry.own + entry.session + entry.links))
    found = [entry for entry in weighed if entry.score > 0.0]
    found.sort(key=lambda entry: (-entry.score, -entry.candidate.id))
    return found


class _Weigher:
    """Weighs the evidence for each memory by itself."""

    def __init__(self, corpus: Corpus, mode: Mode) -> None:
        self._mode = mode
        self._weights = [inverse_frequency(frequency, corpus.memories) for frequency in corpus.document_frequencies]
        self._information = fsum(self._weights)
        self._coverages: dict[frozenset[int], float] = {}  # many candidates hold the same few terms
        self._scale = Scale.of(corpus.spread)

    def weigh(self, candidate: Candidate) -> _Weighed:
        entry = _Weighed(candidate)
        if self._mode != "semantic" and (candidate.matched or (candidate.lent and self._mode == "hybrid")):
            weights = self._weights
            entry.coverage = self._coverage(frozenset(candidate.matched))
            if candidate.lent:
                lent = fsum([weights[position] * degree for position, degree in candidate.lent.items()])
                entry.lent = min(1.0 - entry.coverage, lent / self._information)
        if self._mode != "keyword" and candidate.cosine is not None:
            entry.meaning = self._scale.evidence(candidate.cosine)
            if candidate.answers is not None:
                entry.meaning += QUESTION_SHARE * self._scale.evidence(candidate.answers)
        return entry

    def _coverage(self, matched: frozenset[int]) -> float:
        known = self._coverages.get(matched)
        if known is None:
            known = min(1.0, fsum([self._weights[position] for position in matched]) / self._information)
            self._coverages[matched] = known
        return known

    def finish(self, weighed: list[_Weighed]) -> None:
        """Add up what depends on all candidates."""
        bm25_best = max((entry.candidate.bm25 for entry in weighed), default=0.0)
        for entry in weighed:
            entry.own = entry.meaning or 0.0
            covered = entry.coverage + entry.lent
            if covered:
                entry.keyword = keyword(covered, entry.candidate.bm25, bm25_best)
                entry.own -= log1p(-KEYWORD_CERTAINTY * entry.keyword)


def _share_within_sessions(weighed: list[_Weighed]) -> None:
    best: dict[Hashable, float] = {}
    for entry in weighed:
        session = entry.candidate.session
        if session is not None:
            best[session] = max(best.get(session, 0.0), entry.own)
    for entry in weighed:
        if entry.own > 0.0 and entry.candidate.session is not None:
            entry.session = SESSION_SHARE * best[entry.candidate.session]
            entry.own *= 1.0 - SESSION_SHARE


def _share_along_links(weighed: list[_Weighed]) -> None:
    linked = [entry for entry in weighed if entry.candidate.links]
    evidence = {entry.candidate.id: entry.own + entry.session for entry in weighed} if linked else {}
    for entry in linked:
        lent = (evidence.get(other, 0.0) * weight for other, weight in entry.candidate.links.items())
        entry.links = LINK_SHARE * max(lent)


def _ranked(entry: _Weighed) -> Ranked:
    candidate = entry.candidate
    return Ranked(
        id=candidate.id,
        score=entry.score,
        bm25=candidate.bm25 if entry.keyword and candidate.bm25 > 0 else None,
        coverage=entry.coverage or None,
        lent=entry.lent or None,
        keyword=entry.keyword or None,
        cosine=None if entry.meaning is None else candidate.cosine,
        semantic=None if entry.meaning is None else -expm1(-entry.meaning),
        session=-expm1(-entry.session) or None,
        links=-expm1(-entry.links) or None,
    )


def inverse_frequency(document_frequency: int, memories: int) -> float:
    """Return how much a term tells: ``ln(1 + (N - n + ½) / (n + ½))``, which unlike FTS5's own is never 0.

    A word that no memory holds tells the most. It stays in the query's information, so that memories which match
    only the rest of the query are not taken for sure hits.
    """
    absent = max(0, memories - document_frequency)
    return log1p((absent + 0.5) / (max(0, document_frequency) + 0.5))


def keyword(coverage: float, bm25: float, bm25_best: float) -> float:
    """Return ``coverage ** COVERAGE_POWER * (1 - BM25_SHARE + BM25_SHARE * bm25 / bm25_best)``.

    Dividing bm25 by the best alone would call the best of any query sure, however little of the query it covers.
    """
    relative = min(1.0, max(0.0, bm25) / bm25_best) if bm25_best > 0 else 0.0
    return float(min(1.0, coverage) ** COVERAGE_POWER * (1 - BM25_SHARE + BM25_SHARE * relative))


def semantic(cosine: float, corpus: Corpus) -> float:
    """Return how sure a cosine makes by itself, 0 to 1."""
    return -expm1(-Scale.of(corpus.spread).evidence(cosine))
