"""Proposing pairs by the signs of their vectors: as comparing every pair by hand."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.recall.similarity import PROPOSED_MAX, Passage, least_agreement, propose

DIMENSIONS = 12

drawn_passages = st.lists(
    st.tuples(st.integers(1, 5), st.integers(0, 1), st.integers(0, 2), st.integers(0, 2**DIMENSIONS - 1)), max_size=14
)


def passage(number: int, memory_id: int, group: int, text: int, bits: int) -> Passage:
    return Passage(number, memory_id, group, text, bits.to_bytes(2, "little"))


def agreement(one: Passage, other: Passage) -> float:
    differing = (int.from_bytes(one.signs, "little") ^ int.from_bytes(other.signs, "little")).bit_count()
    return 1 - 2 * differing / DIMENSIONS


@given(drawn_passages, st.integers(0, 14), st.integers(1, 5), st.sampled_from([0.5, 0.9, 1.0]))
def test_it_proposes_what_comparing_every_pair_would(
    drawn: list[tuple[int, int, int, int]], examined_count: int, block: int, cosine: float
) -> None:
    passages = [passage(number, *fields) for number, fields in reversed(list(enumerate(drawn, start=1)))]
    examined = passages[:examined_count]
    everything = iter(passages)
    found = propose(examined, iter(lambda: list(islice(everything, block)), []), DIMENSIONS, cosine)

    by_newer: dict[int, list[float]] = {}
    for one in examined:
        comparable = (
            agreement(one, other)
            for other in passages
            if other.id < one.id and other.memory_id != one.memory_id and other.group == one.group and other.text != one.text
        )
        enough = [value for value in comparable if value >= least_agreement(cosine, DIMENSIONS)]
        if enough:
            by_newer[one.id] = sorted(enough, reverse=True)[:PROPOSED_MAX]
    known = {one.id: one for one in passages}
    for newer, expected in by_newer.items():
        proposed = [proposal for proposal in found if proposal.newer == newer]
        assert [proposal.agreement for proposal in proposed] == pytest.approx(expected, abs=1e-6)
        assert [agreement(known[one.older], known[newer]) for one in proposed] == pytest.approx(expected, abs=1e-6)
    assert {proposal.newer for proposal in found} == by_newer.keys()


@pytest.mark.parametrize("cosine", [0.5, 0.7, 0.9, 0.98])
def test_hardly_any_alike_vectors_fall_short(cosine: float) -> None:
    generator = np.random.default_rng(7)
    one, other = generator.standard_normal((2, 20_000, 384))
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    other -= (one * other).sum(axis=1, keepdims=True) * one
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    other = cosine * one + np.sqrt(1 - cosine**2) * other
    agreements = ((one > 0) == (other > 0)).mean(axis=1) * 2 - 1

    assert (agreements < least_agreement(cosine, 384)).mean() < 0.003
    assert least_agreement(cosine, 384) > 0.1


def test_equal_vectors_agree_enough_for_any_threshold() -> None:
    same = [passage(number, number, 0, number, 5) for number in (3, 2, 1)]

    assert {(one.older, one.newer) for one in propose(same, [same], DIMENSIONS, 1.0)} == {(1, 2), (1, 3), (2, 3)}


def test_nothing_to_examine_is_nothing_proposed() -> None:
    assert propose([], [], DIMENSIONS, 0.9) == []
