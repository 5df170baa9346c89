"""Weighs what words say against what vectors say, and puts the candidates in order. The one place where a score is made.

Each kind of evidence is measured in nats, so that independent evidence adds up and ``1 - exp(-evidence)`` is how sure it
makes: either kind can carry a memory to the top alone, and two weak ones help each other. What the numbers mean, and what was
measured, is in DESIGN.md beside this file.

It gets evidence and gives an order. It must not know where evidence comes from: no SQL, no vectors, no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, expm1, fsum, log, log1p, sqrt
from typing import Literal

Mode = Literal["keyword", "semantic", "hybrid"]

COVERAGE_POWER = 1.7
"""Half of a query's words are worth a third of all: among many memories, many hold some word of a query by chance."""

BM25_SHARE = 0.05
"""How much of the keyword part depends on bm25, which tells apart memories that cover the same words."""

KEYWORD_CERTAINTY = 0.95
"""A memory may hold every word of a query and mean something else. Below 1 so that meaning still orders such memories."""

STANDING_OUT = 5.2
"""The scale of ``semantic``. The best of N chance texts has a z² near 2 ln N; at z² = 5.2 ln N the evidence is one nat."""

QUESTION_SHARE = 0.3
"""How much of the evidence that a question's cosine gives goes to the turn that answers it."""

SESSION_SHARE = 0.2
"""How much of a turn's evidence is that of its session's best turn."""

LINK_SHARE = 0.5
"""How much of a memory's evidence goes along a link of full strength, where links are to count in full."""

PRIOR_MEMORIES = 10
PRIOR_MEAN = 0.1
PRIOR_DEVIATION = 0.1
"""What MiniLM's cosines look like before there are memories enough to measure them: counted as so many memories more."""

_Z_MAX = 100.0  # keeps exp() in range; no cosine stands out that far


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How the query's cosines spread over the memories searched, or over a sample of them taken blindly."""

    count: int = 0
    """How many cosines were measured. 0: nothing is known, the prior stands alone."""
    mean: float = 0.0
    deviation: float = 0.0
    """The standard deviation, dividing by ``count``."""

    @classmethod
    def of(cls, cosines: Sequence[float]) -> Spread:
        """Measure ``cosines``, one for each memory (its best passage's)."""
        count = len(cosines)
        if count == 0:
            return cls()
        mean = fsum(cosines) / count
        return cls(count=count, mean=mean, deviation=sqrt(fsum((cosine - mean) ** 2 for cosine in cosines) / count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What is known of all the memories searched, whether they are candidates or not."""

    memories: int
    """How many there are."""
    document_frequencies: Sequence[int] = ()
    """For each of the query's terms, in order, how many memories hold it. An old or rough count does no harm."""
    spread: Spread = Spread()


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
    weigher = _Weigher(corpus, mode)
    weighed = [weigher.weigh(candidate) for candidate in candidates]
    weigher.finish(weighed)
    _share_within_sessions(weighed)
    _share_along_links(weighed)
    for entry in weighed:
        entry.score = -expm1(-entry.candidate.factor * (entry.own + entry.session + entry.links))
    found = [entry for entry in weighed if entry.score > 0.0]
    found.sort(key=lambda entry: (-entry.score, -entry.candidate.id))
    return [_ranked(entry) for entry in found[:limit]]


class _Weigher:
    """Weighs the evidence for each memory by itself."""

    def __init__(self, corpus: Corpus, mode: Mode) -> None:
        self._mode = mode
        self._weights = [inverse_frequency(frequency, corpus.memories) for frequency in corpus.document_frequencies]
        self._information = fsum(self._weights)
        self._scale = _Scale.of(corpus.spread)

    def weigh(self, candidate: Candidate) -> _Weighed:
        entry = _Weighed(candidate)
        if self._mode != "semantic" and (candidate.matched or (candidate.lent and self._mode == "hybrid")):
            weights = self._weights
            entry.coverage = min(1.0, fsum([weights[position] for position in candidate.matched]) / self._information)
            if candidate.lent:
                lent = fsum([weights[position] * degree for position, degree in candidate.lent.items()])
                entry.lent = min(1.0 - entry.coverage, lent / self._information)
        if self._mode != "keyword" and candidate.cosine is not None:
            entry.meaning = self._scale.evidence(candidate.cosine)
            if candidate.answers is not None:
                entry.meaning += QUESTION_SHARE * self._scale.evidence(candidate.answers)
        return entry

    def finish(self, weighed: list[_Weighed]) -> None:
        """Add up what depends on all candidates."""
        bm25_best = max((entry.candidate.bm25 for entry in weighed), default=0.0)
        for entry in weighed:
            covered = entry.coverage + entry.lent
            if covered:
                entry.keyword = keyword(covered, entry.candidate.bm25, bm25_best)
            entry.own = -log1p(-KEYWORD_CERTAINTY * entry.keyword) + (entry.meaning or 0.0)


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
    return -expm1(-meaning(cosine, corpus))


def meaning(cosine: float, corpus: Corpus) -> float:
    """Return ``p(z)² / (STANDING_OUT * ln N)`` nats: how far the cosine stands out among all memories'.

    ``z`` is the cosine's distance from the mean in standard deviations; ``p(z) = ln(1 + exp z)`` is z where that is large
    and stays above 0 where it is not, so that what lies below the mean keeps its order. The mean, the deviation and N
    count ``PRIOR_MEMORIES`` more memories of the prior's kind: in a store with three memories nothing can stand out by itself.

    The cosine as such would not do: among memories on one subject .5 is ordinary, among mixed ones it is a find.
    """
    return _Scale.of(corpus.spread).evidence(cosine)


@dataclass(frozen=True, slots=True)
class _Scale:
    """What ``meaning`` needs to know of all cosines."""

    mean: float
    deviation: float
    nat: float
    """The value of p(z)² that is worth one nat."""

    @classmethod
    def of(cls, spread: Spread) -> _Scale:
        total = spread.count + PRIOR_MEMORIES
        mean = (spread.count * spread.mean + PRIOR_MEMORIES * PRIOR_MEAN) / total
        variance = (spread.count * spread.deviation**2 + PRIOR_MEMORIES * PRIOR_DEVIATION**2) / total
        return cls(mean, sqrt(variance), STANDING_OUT * log(total))

    def evidence(self, cosine: float) -> float:
        z = max(-_Z_MAX, min(_Z_MAX, (cosine - self.mean) / self.deviation))
        positive = max(z, 0.0) + log1p(exp(-abs(z)))
        return positive * positive / self.nat
