"""Gathers the evidence for a search: what words and meaning propose, and what stands around the best of it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from math import prod

from engine.catalogue.search import MemorySearch
from engine.protocol import Embedding
from engine.recall import dates, form, fusion
from engine.recall.fusion import Candidate, Corpus, Mode
from engine.recall.query import Query, parse
from engine.recall.spread import Spread
from engine.recall.surroundings import REACH, Chains, DatedTerms, lent_by_turns
from engine.store import keyword, links, meaning, memories, neighbours, notable
from engine.store.database import Database
from engine.store.keyword import Found
from engine.store.meaning import Nearness
from engine.store.neighbours import Around, Glimpse
from engine.store.selection import Selection

CANDIDATES = 120
"""How many memories each kind of evidence may propose: a few more than anybody may ask for. 200 find no more."""

SHORTLIST = 100
"""How many of the candidates are looked at closely: as many as anybody may ask for, so that no limit changes an order."""

FOCUS = 30
"""Around how many of the best one looks for turns that lend words or answer. Each costs a few steps of an index."""

FOLLOWED = 20
"""From how many of the best links are followed, if links are to count."""

LINKS_FOLLOWED = 20
"""The strongest links of one memory."""

CORRECTED = 0.4
"""What a word counts that stands in for one spelled nearly so: as a rule the query's word was right, and no memory holds it."""

RECENCY_HALF_LIFE_DAYS = 30
_HALF_LIFE_US = RECENCY_HALF_LIFE_DAYS * 24 * 60 * 60 * 1_000_000


@dataclass
class Evidence:
    """All that is known for ranking one search."""

    found: Found
    candidates: list[Candidate] = field(default_factory=list)
    corpus: Corpus = field(default_factory=lambda: Corpus(memories=0))
    nearness: dict[int, Nearness] = field(default_factory=dict)
    factors: dict[int, dict[str, float]] = field(default_factory=dict)
    """For each candidate, by name, what its evidence is multiplied by."""


def gather(
    database: Database, arguments: MemorySearch, selection: Selection, embedding: Embedding | None, mode: Mode
) -> Evidence:
    """Return the evidence for a query. Without an embedding there is only that of words."""
    search = _Search(database, arguments, selection, embedding, mode)
    best = search.shortlist(search.propose())
    return search.look_around(best)


class _Search:
    def __init__(
        self, database: Database, arguments: MemorySearch, selection: Selection, embedding: Embedding | None, mode: Mode
    ) -> None:
        self._database = database
        self._connection = database.connection
        self._now = database.now()
        self._text = arguments.query
        self._selection = selection
        self._signals = arguments.signals
        self._embedding = None if mode == "keyword" else embedding
        self._mode: Mode = mode
        dated = self._signals.dates and mode != "semantic"
        self._mentions = dates.mentions(self._text, self._now) if dated else []
        self._found = Found(query=Query())
        self._bm25_least = 0.0
        self._strict = False  # whether only what holds a quotation is meant
        self._corrected: set[int] = set()
        self._nearness: dict[int, Nearness] = {}
        self._held: dict[int, frozenset[int]] = {}
        self._corpus = Corpus(memories=0)

    def propose(self) -> list[int]:
        """Let words, meaning and dates name their best."""
        database, selection, now = self._database, self._selection, self._now
        query = Query() if self._mode == "semantic" else parse(self._text)
        self._found = keyword.find(self._connection, query, selection, tokenize=database.tokenize, limit=CANDIDATES, now=now)
        if self._mode == "hybrid":
            terms = self._found.query.terms
            self._corrected = {at for at, term in enumerate(terms) if term in self._found.corrected}
        # What matches and is not among FTS5's best fits no better than the last of them.
        self._bm25_least = min(self._found.bm25.values(), default=0.0)
        spread = Spread()
        if self._embedding is not None:
            self._nearness, spread = meaning.nearest(database.image, self._embedding, selection, limit=CANDIDATES, now=now)
        self._corpus = Corpus(
            memories=memories.count(self._connection, now), document_frequencies=self._found.frequencies, spread=spread
        )
        self._strict = bool(self._found.bm25) and self._found.match == self._found.query.strict_match
        if self._strict:
            return list(self._found.bm25)
        proposed = [*self._found.bm25, *self._nearness]
        if self._mentions and self._mode == "hybrid":
            periods = [period for mention in self._mentions for period in mention.periods]
            proposed += neighbours.dated(self._connection, periods, selection, limit=CANDIDATES, now=now)
        return list(dict.fromkeys(proposed))

    def shortlist(self, proposed: list[int]) -> list[int]:
        """Return those of the proposed with the most evidence of their own, best first, and those whose date is meant."""
        self._learn_terms(proposed)
        self._learn_nearness(proposed)
        dated: list[int] = []
        if self._mentions:
            times = neighbours.times(self._connection, proposed)
            dated = [i for i, (start, end) in times.items() if any(m.closeness(start, end) > 0 for m in self._mentions)]
        by_themselves = [self._candidate(memory_id) for memory_id in proposed]
        best = fusion.best(by_themselves, self._corpus, self._mode, limit=SHORTLIST)
        return list(dict.fromkeys((*best, *dated)))

    def look_around(self, best: list[int]) -> Evidence:
        """Return the evidence for the best and for what stands beside them, with all that surroundings and form add."""
        signals = self._signals
        if self._mode == "semantic" and not (signals.links or signals.recency or signals.importance):
            alone = [self._candidate(memory_id) for memory_id in best]
            return Evidence(found=self._found, candidates=alone, nearness=self._nearness, corpus=self._corpus)
        around: dict[int, Around] = {}
        linked: dict[int, dict[int, float]] = {}
        if self._mode != "semantic" and signals.session:
            # Twice as far as turns lend words, so that for a turn within reach all is known that may lend it words.
            around = neighbours.around(self._connection, best[:FOCUS], self._now, reach=2 * REACH)
        if signals.links:
            linked = self._links(best[:FOLLOWED])
        others = set(linked)
        if self._mode == "hybrid":
            others |= {turn for turns in around.values() for turn in (*turns.before[:REACH], *turns.after[:REACH])}
        others -= set(best)
        if others and self._mode != "keyword" and not self._strict:
            best = [*best, *sorted(notable.among(self._connection, self._selection, others, self._now))]
        self._learn_terms({*best, *(turn for turns in around.values() for turn in (*turns.before, *turns.after))})
        return self._evidence(
            best, Chains([*reversed(turns.before), middle, *turns.after] for middle, turns in around.items()), linked
        )

    def _learn_terms(self, ids: Iterable[int]) -> None:
        """Find out which terms each of ``ids`` holds."""
        unknown = [memory_id for memory_id in ids if memory_id not in self._held]
        if unknown:
            self._held |= keyword.terms_held(self._connection, self._found.query, unknown)

    def _learn_nearness(self, ids: Iterable[int]) -> None:
        """Find out how near each of ``ids`` lies."""
        unknown = [memory_id for memory_id in ids if memory_id not in self._nearness]
        if unknown and self._embedding is not None:
            self._nearness |= meaning.nearness(self._connection, self._embedding, unknown)

    def _links(self, best: list[int]) -> dict[int, dict[int, float]]:
        """Return for each memory linked with one of the best how much each of its links counts."""
        linked: dict[int, dict[int, float]] = {}
        for memory_id in best:
            edges = links.edges(self._connection, memory_id, self._now)
            for edge in sorted(edges, key=lambda edge: -edge.weight)[:LINKS_FOLLOWED]:
                other = edge.to_id if edge.from_id == memory_id else edge.from_id
                weights = linked.setdefault(other, {})
                weights[memory_id] = max(weights.get(memory_id, 0.0), edge.weight * self._signals.links)
        return linked

    def _candidate(self, memory_id: int) -> Candidate:
        """Return the evidence for a memory by itself."""
        held, near = self._held[memory_id], self._nearness.get(memory_id)
        candidate = Candidate(
            id=memory_id,
            bm25=self._found.bm25.get(memory_id, self._bm25_least if held else 0.0),
            matched=held,
            cosine=None if near is None else near.cosine,
        )
        if self._corrected:
            candidate.matched = held - self._corrected
            candidate.lent = dict.fromkeys(held & self._corrected, CORRECTED)
        return candidate

    def _evidence(self, best: list[int], chains: Chains, linked: dict[int, dict[int, float]]) -> Evidence:
        weight = self._signals.session
        glimpses = neighbours.glimpses(self._connection, chains.with_those_before(best))
        asking = {memory_id for memory_id, seen in glimpses.items() if seen.text is not None and form.asks(seen.text)}
        self._learn_nearness(asking.union(best))
        times = {memory_id: (glimpses[memory_id].start, glimpses[memory_id].end) for memory_id in best}
        dated = DatedTerms(self._found.query.terms, self._mentions, times, self._signals.dates)
        wants_time = form.asks_when(self._text)
        evidence = Evidence(found=self._found, nearness=self._nearness, corpus=self._corpus)
        for memory_id in best:
            terms, seen, before = self._held[memory_id], glimpses[memory_id], chains.before(memory_id)
            question = before if before in asking else None
            lent: dict[int, float] = {}
            if memory_id in chains:
                nearby = [self._held[turn] for turn in chains.nearby(memory_id)]
                lent = lent_by_turns(terms, nearby, () if question is None else self._held[question], weight)
            dated.lend(memory_id, terms, lent)
            asked = None if question is None else self._nearness.get(question)
            session = _session(seen, chains) if weight and self._mode != "semantic" else None
            factors = evidence.factors[memory_id] = self._factors(seen, session is not None, wants_time)
            candidate = self._candidate(memory_id)
            if lent:
                candidate.lent = {**candidate.lent, **lent}
            candidate.session = session
            candidate.answers = None if asked is None else asked.cosine
            if memory_id in linked:
                candidate.links = linked[memory_id]
            candidate.factor = prod(factors.values())
            evidence.candidates.append(candidate)
        return evidence

    def _factors(self, seen: Glimpse, is_turn: bool, wants_time: bool) -> dict[str, float]:
        signals = self._signals
        factors: dict[str, float] = {}
        if seen.text is not None and signals.form and self._mode != "semantic":
            read = form.factors(seen.text, is_turn=is_turn, wants_time=wants_time)
            factors |= {name: value**signals.form for name, value in read.items()}
        if signals.recency:
            age = max(0, self._now - seen.updated_at)
            factors["recency"] = _weighted(signals.recency, 0.5 ** (age / _HALF_LIFE_US))
        if signals.importance:
            factors["importance"] = _weighted(signals.importance, seen.importance)
        return factors


def _session(seen: Glimpse, chains: Chains) -> Hashable:
    """Return what names the session of a turn: its own name, or for talk without one its time."""
    if seen.session is not None:
        return seen.workspace, seen.session
    return (seen.workspace, seen.start) if seen.id in chains else None


def _weighted(weight: float, value: float) -> float:
    """Return from ½ to 2 for a value from 0 to 1, at full weight; 1 for the value ½ and at no weight."""
    return float(2.0 ** (weight * (2.0 * value - 1.0)))
