"""What stands around a memory lends it words: the turns beside it in its session, the question it answers, its date.

Conversation says a thing once. Who asks "When did you go to Lisbon?" is answered by "In May": the words stand in one turn and
what was wanted in the next. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise

from engine.recall.dates import Mention

REACH = 2
"""Turns before and after a memory that may lend it their words."""

LENT_BY_TURNS = 0.6
"""What a word counts that only a turn nearby holds."""

LENT_BY_QUESTION = 1.0
"""What a word counts that the question holds which the turn answers: the answer leaves it out because it was said."""

DATED_SHARE_MAX = 0.5
"""A date that more of the candidates have tells nothing."""


class Chains:
    """Which turns follow one another, put together from stretches of turns in their order."""

    def __init__(self, stretches: Iterable[Sequence[int]]) -> None:
        self._before: dict[int, int] = {}
        self._after: dict[int, int] = {}
        for stretch in stretches:
            for first, second in pairwise(stretch):
                self._after[first] = second
                self._before[second] = first

    def __contains__(self, memory_id: int) -> bool:
        return memory_id in self._before or memory_id in self._after

    def before(self, memory_id: int) -> int | None:
        """Return the turn right before this one, if there is one and it is known."""
        return self._before.get(memory_id)

    def with_those_before(self, ids: Iterable[int]) -> set[int]:
        """Return ``ids`` and the turns right before them."""
        given = set(ids)
        return given | {self._before[memory_id] for memory_id in given if memory_id in self._before}

    def nearby(self, memory_id: int) -> list[int]:
        """Return the turns within ``REACH`` on both sides."""
        found = []
        for steps in (self._before, self._after):
            turn = steps.get(memory_id)
            for _ in range(REACH):
                if turn is None:
                    break
                found.append(turn)
                turn = steps.get(turn)
        return found


def lent_by_turns(
    held: Collection[int], nearby: Iterable[Collection[int]], question: Collection[int], weight: float
) -> dict[int, float]:
    """Return the terms that a turn lacks and gets from the turns ``nearby`` and from the ``question`` it answers."""
    lent: dict[int, float] = {}
    for terms in nearby:
        for term in terms:
            if term not in held:
                lent[term] = LENT_BY_TURNS * weight
    for term in question:
        if term not in held:
            lent[term] = LENT_BY_QUESTION * weight
    return lent


class DatedTerms:
    """The terms of a query that are a date, lent to the memories of that date.

    ``times`` says of every candidate when what it tells of started and ended. A date that no candidate is near to, or most
    candidates have, lends nothing: then its words are words.
    """

    def __init__(
        self, terms: Sequence[str], mentions: Iterable[Mention], times: Mapping[int, tuple[int, int]], weight: float
    ) -> None:
        self._weight = weight
        self._degrees: list[tuple[tuple[int, ...], dict[int, float]]] = []
        for mention in mentions:
            positions = tuple(position for position, term in enumerate(terms) if term.lower() in mention.words)
            near = {memory_id: mention.closeness(start, end) for memory_id, (start, end) in times.items()}
            near = {memory_id: degree for memory_id, degree in near.items() if degree > 0.0}
            exact = sum(degree == 1.0 for degree in near.values())
            if positions and near and exact <= DATED_SHARE_MAX * len(times):
                self._degrees.append((positions, near))

    def lend(self, memory_id: int, held: Collection[int], lent: dict[int, float]) -> None:
        """Add to ``lent`` the terms that a memory lacks and has by its date."""
        for positions, near in self._degrees:
            degree = near.get(memory_id, 0.0) * self._weight
            for term in positions:
                if term not in held and degree > lent.get(term, 0.0):
                    lent[term] = degree
