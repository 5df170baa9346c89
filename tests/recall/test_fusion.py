"""Fusion: every score in (0, 1], more evidence never ranks lower, and the same evidence always gives the same order."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.recall.fusion import KEYWORD_CERTAINTY, Candidate, Corpus, Mode, best, fuse, inverse_frequency, semantic
from engine.recall.spread import Spread

TERMS = 5
MODES: tuple[Mode, ...] = ("keyword", "semantic", "hybrid")

cosines = st.floats(-1, 1)
bm25s = st.one_of(st.just(0.0), st.floats(1e-6, 60))
matches = st.frozensets(st.integers(0, TERMS - 1))
corpora = st.builds(
    Corpus,
    memories=st.integers(0, 10**6),
    document_frequencies=st.lists(st.integers(0, 2 * 10**6), min_size=TERMS, max_size=TERMS),
    spread=st.builds(Spread, count=st.integers(0, 10**6), mean=cosines, deviation=st.floats(0, 1)),
)
candidates = st.lists(
    st.builds(Candidate, id=st.integers(1, 2**53), bm25=bm25s, matched=matches, cosine=st.none() | cosines),
    max_size=12,
    unique_by=lambda candidate: candidate.id,
)


@given(candidates, corpora, st.sampled_from(MODES), st.randoms())
def test_scores_are_in_range_and_the_order_does_not_depend_on_the_order_given(
    given_candidates: list[Candidate], corpus: Corpus, mode: Mode, shuffler: random.Random
) -> None:
    ranked = fuse(given_candidates, corpus, mode)

    assert all(0 < entry.score <= 1 for entry in ranked)
    assert fuse(given_candidates, corpus, mode, limit=3) == ranked[:3]
    assert best(given_candidates, corpus, mode, limit=3) == [entry.id for entry in ranked[:3]]
    assert sorted(ranked, key=lambda entry: (-entry.score, -entry.id)) == ranked
    for entry in ranked:
        assert all(part is None or 0 <= part <= 1 for part in (entry.coverage, entry.keyword, entry.semantic))
    shuffled = list(given_candidates)
    shuffler.shuffle(shuffled)
    assert fuse(shuffled, corpus, mode) == ranked


@given(candidates, corpora, st.sampled_from(MODES), st.integers(0, TERMS - 1), st.floats(0, 10), st.floats(0, 0.5))
def test_more_evidence_never_scores_lower(
    others: list[Candidate], corpus: Corpus, mode: Mode, term: int, bm25: float, cosine: float
) -> None:
    """But for rounding, where the cosine differs too."""
    poorer = Candidate(id=2**60, bm25=1.0, matched=frozenset({(term + 1) % TERMS}), cosine=0.25)
    richer = Candidate(id=2**59, bm25=1.0 + bm25, matched=frozenset({term, (term + 1) % TERMS}), cosine=0.25 + cosine)

    ranked = {entry.id: entry.score for entry in fuse([*others, poorer, richer], corpus, mode)}

    assert ranked[richer.id] >= ranked[poorer.id] - 1e-12


@given(candidates, corpora, matches, matches, bm25s, st.none() | cosines)
def test_more_coverage_at_the_same_cosine_never_ranks_lower(
    others: list[Candidate], corpus: Corpus, some: frozenset[int], more: frozenset[int], bm25: float, cosine: float | None
) -> None:
    poorer = Candidate(id=2**60, bm25=bm25, matched=some, cosine=cosine)
    richer = Candidate(id=2**60 + 1, bm25=bm25, matched=some | more, cosine=cosine)

    ids = [entry.id for entry in fuse([*others, poorer, richer], corpus)]

    if poorer.id in ids:
        assert ids.index(richer.id) < ids.index(poorer.id)


@given(corpora, cosines, cosines)
def test_semantic_grows_with_the_cosine(corpus: Corpus, one: float, other: float) -> None:
    low, high = sorted((one, other))

    assert 0 < semantic(low, corpus) <= semantic(high, corpus) <= 1


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_rarer_term_tells_more(memories: int, one: int, other: int) -> None:
    rare, frequent = sorted((one, other))

    assert inverse_frequency(rare, memories) >= inverse_frequency(frequent, memories) > 0


@pytest.mark.parametrize("mode", MODES)
def test_no_evidence_ranks_nothing(mode: Mode) -> None:
    assert fuse([], Corpus(memories=0), mode) == []
    assert fuse([Candidate(id=1)], Corpus(memories=1), mode) == []


def test_a_mode_ignores_the_other_kind_of_evidence_and_scores_its_own_alike() -> None:
    corpus = Corpus(memories=100, document_frequencies=(3, 40), spread=Spread(count=100, mean=0.1, deviation=0.1))
    both = Candidate(id=1, bm25=4.0, matched=(0,), cosine=0.5)
    words_only = replace(both, id=2, cosine=None)
    meaning_only = Candidate(id=3, cosine=0.5)
    everything = [both, words_only, meaning_only]

    by_words = fuse(everything, corpus, "keyword")
    by_meaning = fuse(everything, corpus, "semantic")
    by_both = {entry.id: entry for entry in fuse(everything, corpus)}

    assert [entry.id for entry in by_words] == [2, 1]
    assert [entry.id for entry in by_meaning] == [3, 1]
    assert by_words[0] == by_both[2]
    assert by_meaning[0] == by_both[3]
    assert by_both[1].score == pytest.approx(1 - (1 - by_both[2].score) * (1 - by_both[3].score))


def test_the_parts_explain_the_score() -> None:
    corpus = Corpus(memories=100, document_frequencies=(3, 40), spread=Spread(count=100, mean=0.1, deviation=0.1))
    entry = fuse([Candidate(id=1, bm25=4.0, matched=(0, 1), cosine=0.1)], corpus)[0]

    assert entry.bm25 == 4.0
    assert entry.coverage == pytest.approx(1.0)
    assert entry.keyword == pytest.approx(1.0)
    assert entry.cosine == 0.1
    assert entry.semantic is not None
    assert entry.score == pytest.approx(1 - (1 - KEYWORD_CERTAINTY) * (1 - entry.semantic))


def test_meaning_orders_memories_that_hold_every_word() -> None:
    corpus = Corpus(memories=100, document_frequencies=(3,), spread=Spread(count=100, mean=0.1, deviation=0.1))
    near, far = (Candidate(id=number, bm25=4.0, matched=(0,), cosine=cosine) for number, cosine in ((1, 0.7), (2, 0.1)))

    assert [entry.id for entry in fuse([far, near], corpus)] == [1, 2]


def test_the_same_cosine_says_less_among_memories_on_one_subject() -> None:
    mixed = Corpus(memories=1000, spread=Spread(count=1000, mean=0.03, deviation=0.07))
    one_subject = Corpus(memories=1000, spread=Spread(count=1000, mean=0.35, deviation=0.12))

    assert semantic(0.5, mixed) > 0.6
    assert semantic(0.5, one_subject) < 0.2


def test_a_spread_is_measured() -> None:
    assert Spread.of([]) == Spread()

    spread = Spread.of([0.1, 0.3])

    assert spread.count == 2
    assert spread.mean == pytest.approx(0.2)
    assert spread.deviation == pytest.approx(0.1)
