"""Decides whose piece of work is next. Pure: no clock, no threads, no model.

Work comes in jobs of several pieces, each with its cost, and waits in the lane that its sender names. Two rules:

- Among the lanes of one urgency, whoever has been given the least goes next. Each lane has a mark, which rises by the cost of
  every piece it is given, and the lowest mark is served. So marks never lie further apart than one largest piece, and what two
  lanes are given while both wait differs by two at most, however many jobs or how large ones either has. A lane that had
  nothing waiting begins at the highest mark there has been, ahead of its equals: it waits for no backlog, and can't get ahead
  by coming and going. So nothing need be remembered of a lane without waiting work, and nothing is.
- What is more urgent goes first. But it owes a share of the work done meanwhile to what waits behind it, and as soon as that
  would pay for a piece, this piece goes first: nothing starves.

Within a lane jobs take turns, piece by piece.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Hashable, Mapping, Sequence
from enum import IntEnum
from typing import Generic, Protocol, TypeVar


class Urgency(IntEnum):
    """Who waits for it."""

    QUERY = 0
    """Somebody who searches."""
    DOCUMENT = 1
    """Somebody who stores."""
    BACKGROUND = 2
    """Nobody."""


OWED_SHARES = {Urgency.QUERY: 0.0, Urgency.DOCUMENT: 1 / 4, Urgency.BACKGROUND: 1 / 16}
"""What is owed to each while more urgent work is done. A memory of one line waits for some four queries, a largest piece for
a quarter of a second of them; what nobody waits for still is not put off for good."""


class Job(Protocol):
    """Some pieces of work of one sender."""

    @property
    def costs(self) -> Sequence[int]:
        """The cost of each piece, 1 or more."""

    @property
    def kind(self) -> Hashable:
        """What can be done in one run is of one kind."""

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for it. What is left of a job that nobody wants is dropped, and costs nothing."""


J = TypeVar("J", bound=Job)


class _Waiting(Generic[J]):
    __slots__ = ("job", "next")

    def __init__(self, job: J) -> None:
        self.job = job
        self.next = 0


class _Lanes(Generic[J]):
    """What waits of one urgency."""

    def __init__(self) -> None:
        self._jobs: dict[str, deque[_Waiting[J]]] = {}
        self._marks: list[tuple[int, int, str]] = []
        """A heap with one entry per lane: its mark, the newest first among equals, its name."""
        self._highest = 0
        self._entries = 0

    def add(self, lane: str, job: J) -> None:
        if lane not in self._jobs:
            self._jobs[lane] = deque()
            self._enter(lane, self._highest)
        self._jobs[lane].append(_Waiting(job))

    def first(self) -> _Waiting[J] | None:
        """Return the job whose piece is next, or ``None``. Drops what nobody wants on the way there."""
        while self._marks:
            jobs = self._jobs[self._marks[0][2]]
            while jobs and not jobs[0].job.wanted:
                jobs.popleft()
            if jobs:
                return jobs[0]
            del self._jobs[heapq.heappop(self._marks)[2]]
        self._highest = self._entries = 0
        return None

    def take(self) -> tuple[J, int, int]:
        """Return the next piece's job, its number in the job, and its cost. There must be one: ``first`` has told."""
        mark, _, lane = heapq.heappop(self._marks)
        jobs = self._jobs[lane]
        waiting = jobs.popleft()
        index, cost = waiting.next, waiting.job.costs[waiting.next]
        waiting.next += 1
        if waiting.next < len(waiting.job.costs):
            jobs.append(waiting)
        self._highest = max(self._highest, mark + cost)
        if jobs:
            self._enter(lane, mark + cost)
        else:
            del self._jobs[lane]
        return waiting.job, index, cost

    def _enter(self, lane: str, mark: int) -> None:
        self._entries += 1
        heapq.heappush(self._marks, (mark, -self._entries, lane))


class Schedule(Generic[J]):
    """All that waits."""

    def __init__(self) -> None:
        self._lanes: dict[Urgency, _Lanes[J]] = {urgency: _Lanes() for urgency in Urgency}
        self._owed = dict.fromkeys(Urgency, 0.0)

    def add(self, urgency: Urgency, lane: str, job: J) -> None:
        """Have the pieces of a job wait, of which there must be at least one."""
        self._lanes[urgency].add(lane, job)

    def take_run(self, *, cost_max: int, pieces_max: int) -> list[tuple[J, int]]:
        """Return what is to be done next, each piece as its job and its number there; empty when nothing waits.

        It is one piece, or several of one kind and urgency that together cost no more than ``cost_max``.
        """
        firsts = {urgency: first for urgency, lanes in self._lanes.items() if (first := lanes.first()) is not None}
        if not firsts:
            self._owed = dict.fromkeys(Urgency, 0.0)
            return []
        urgency = self._due(firsts)
        lanes = self._lanes[urgency]
        run: list[tuple[J, int]] = []
        total = 0
        kind = firsts[urgency].job.kind
        following: _Waiting[J] | None = firsts[urgency]
        while following is not None and following.job.kind == kind and len(run) < pieces_max:
            if run and total + following.job.costs[following.next] > cost_max:
                break
            job, index, cost = lanes.take()
            run.append((job, index))
            total += cost
            following = lanes.first()
        self._settle(urgency, total, firsts)
        return run

    def _due(self, firsts: Mapping[Urgency, _Waiting[J]]) -> Urgency:
        """Return whose turn it is: the more urgent, or whoever is owed the piece that is first there."""
        for urgency, first in firsts.items():
            if self._owed[urgency] >= first.job.costs[first.next]:
                return urgency
        return min(firsts)

    def _settle(self, done: Urgency, cost: int, waiting: Collection[Urgency]) -> None:
        """Write down what is owed after a run. Who waits for nothing is owed nothing."""
        self._owed[done] = max(0.0, self._owed[done] - cost)
        for urgency in Urgency:
            if urgency not in waiting:
                self._owed[urgency] = 0.0
            elif urgency > done:
                self._owed[urgency] += cost * OWED_SHARES[urgency]
