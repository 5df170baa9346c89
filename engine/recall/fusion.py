"""Weighs what words say against what vectors say, and puts the candidates in order. The one place where a score is made.

Each kind of evidence becomes a probability-like number between 0 and 1 that says how sure it is *by itself*; the two are joined
as independent chances of being right (a "noisy or"), so that either can carry a memory to the top alone, and two weak ones add
up. What the numbers mean, and what was measured, is in DESIGN.md beside this file.

It gets evidence and gives an order. It must not know where evidence comes from: no SQL, no vectors, no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import exp, expm1, fsum, log, log1p, sqrt
from operator import itemgetter
from typing import Literal

Mode = Literal["keyword", "semantic", "hybrid"]

BM25_SHARE = 0.4
"""How much of the keyword part depends on bm25, which tells apart memories that cover the same words. Flat from .2 to .6."""

KEYWORD_CERTAINTY = 0.95
"""A memory may hold every word of a query and mean something else. Below 1 so that meaning still orders such memories."""

STANDING_OUT = 3.0
"""The scale of ``semantic``. The best of N chance texts has a z² near 2 ln N; at z² = 3 ln N the evidence weighs 63%."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One memory, and the evidence for it. Numbers must be finite."""

    id: int
    bm25: float = 0.0
    """FTS5's bm25 with its sign turned; 0 when no term matches, or when it was not asked for."""
    matched: Collection[int] = ()
    """Which of the query's terms the memory holds, as positions among them, none twice."""
    cosine: float | None = None
    """The best passage's; None while the memory waits for its vectors, or when the query has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """One memory's score and how it came about. A part that played no role is None."""

    id: int
    score: float
    """In (0, 1], higher is better."""
    bm25: float | None = None
    coverage: float | None = None
    """Share of the query's information that the matched terms carry, 0 to 1."""
    keyword: float | None = None
    """What bm25 and coverage contributed, 0 to 1."""
    cosine: float | None = None
    semantic: float | None = None
    """What the cosine contributed, 0 to 1."""


def fuse(candidates: Iterable[Candidate], corpus: Corpus, mode: Mode = "hybrid", *, limit: int | None = None) -> list[Ranked]:
    """Return the candidates that ``mode`` has evidence for, best first; the newest (highest id) first among equals.

    ``score = 1 - (1 - k) * (1 - s)`` with ``k = KEYWORD_CERTAINTY * keyword`` and ``s = semantic``. The modes ``keyword`` and
    ``semantic`` leave out the other part, and score their own exactly as ``hybrid`` does.
    """
    candidates = list(candidates)
    weights = [inverse_frequency(frequency, corpus.memories) for frequency in corpus.document_frequencies]
    information = fsum(weights)
    bm25_best = max((candidate.bm25 for candidate in candidates), default=0.0)
    # Most candidates are not among the first few: their parts stay plain tuples, which cost a quarter of a Ranked.
    scored: list[tuple[float, int, Candidate, float, float, float | None]] = []
    for candidate in candidates:
        coverage = words = 0.0
        if mode != "semantic" and candidate.matched:
            coverage = min(1.0, fsum([weights[position] for position in candidate.matched]) / information)
            words = keyword(coverage, candidate.bm25, bm25_best)
        meaning = None if mode == "keyword" or candidate.cosine is None else semantic(candidate.cosine, corpus)
        score = _either(KEYWORD_CERTAINTY * words, meaning or 0.0)
        if score > 0.0:
            scored.append((-score, -candidate.id, candidate, coverage, words, meaning))
    scored.sort(key=itemgetter(0, 1))
    return [
        Ranked(
            id=candidate.id,
            score=-negated,
            bm25=candidate.bm25 if words and candidate.bm25 > 0 else None,
            coverage=coverage or None,
            keyword=words or None,
            cosine=None if meaning is None else candidate.cosine,
            semantic=meaning,
        )
        for negated, _, candidate, coverage, words, meaning in scored[:limit]
    ]


def _either(one: float, other: float) -> float:
    """Return ``1 - (1 - one) * (1 - other)``: the chance that at least one of two independent signs is right.

    Written so that rounding cannot swap two memories that differ in ``one`` alone, nor make 0 of a tiny part.
    """
    return min(1.0, other + one * (1.0 - other))


def inverse_frequency(document_frequency: int, memories: int) -> float:
    """Return how much a term tells: ``ln(1 + (N - n + ½) / (n + ½))``, which unlike FTS5's own is never 0.

    A word that no memory holds tells the most. It stays in the query's information, so that memories which match
    only the rest of the query are not taken for sure hits.
    """
    absent = max(0, memories - document_frequency)
    return log1p((absent + 0.5) / (max(0, document_frequency) + 0.5))


def keyword(coverage: float, bm25: float, bm25_best: float) -> float:
    """Return ``coverage * (1 - BM25_SHARE + BM25_SHARE * bm25 / bm25_best)``.

    Dividing bm25 by the best alone would call the best of any query sure, however little of the query it covers.
    """
    relative = min(1.0, max(0.0, bm25) / bm25_best) if bm25_best > 0 else 0.0
    return coverage * (1 - BM25_SHARE + BM25_SHARE * relative)


def semantic(cosine: float, corpus: Corpus) -> float:
    """Return ``1 - exp(-p(z)² / (STANDING_OUT * ln N))``: how far the cosine stands out among all memories'.

    ``z`` is the cosine's distance from the mean in standard deviations; ``p(z) = ln(1 + exp z)`` is z where that is large
    and stays above 0 where it is not, so that what lies below the mean keeps its order. The mean, the deviation and N
    count ``PRIOR_MEMORIES`` more memories of the prior's kind: in a store with three memories nothing can stand out by itself.

    The cosine as such would not do: among memories on one subject .5 is ordinary, among mixed ones it is a find.
    """
    spread = corpus.spread
    total = spread.count + PRIOR_MEMORIES
    mean = (spread.count * spread.mean + PRIOR_MEMORIES * PRIOR_MEAN) / total
    variance = (spread.count * spread.deviation**2 + PRIOR_MEMORIES * PRIOR_DEVIATION**2) / total
    z = max(-_Z_MAX, min(_Z_MAX, (cosine - mean) / sqrt(variance)))
    positive = max(z, 0.0) + log1p(exp(-abs(z)))
    return -expm1(-(positive**2) / (STANDING_OUT * log(max(0, corpus.memories) + PRIOR_MEMORIES)))
