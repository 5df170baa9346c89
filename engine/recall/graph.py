"""Follows links: breadth first from one memory, and the shortest way between two.

It is told where the links are by a function and does no I/O. The order is always the same: nearest first, then the heaviest
link (strength times confidence), then the lowest id. Cycles end, because no memory is reached twice, and a budget bounds the
work whatever the graph looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.catalogue.graph import Edge

LINKS_READ_MAX = 10_000
"""Links that one call may read, in some 60 ms. A thousand memories with a thousand links each would take six seconds."""

CONFIDENCE_HALF_LIFE_DAYS = 30
"""How long it takes until a link that nobody has reinforced counts half, as Engram has it."""

_HALF_LIFE_HOURS = CONFIDENCE_HALF_LIFE_DAYS * 24
_HOUR_US = 60 * 60 * 1_000_000

EdgesOf = Callable[[int], Sequence[Edge]]
"""Gives the links by which one may go on from a memory, always in the same order."""


def present_confidence(confidence: float, *, reinforced_at: int, pinned: bool, now: int) -> float:
    """Return what is left of a link's confidence: half of it after each half-life, all of it when pinned. Times in µs.

    Its age counts in full hours, so that who asks twice in a row is told the same, and right after setting it, what was set.
    """
    if pinned or now <= reinforced_at:
        return confidence
    hours = (now - reinforced_at) // _HOUR_US
    return float(confidence * 0.5 ** (hours / _HALF_LIFE_HOURS))


@dataclass(slots=True)
class Budget:
    """What a search may still do."""

    memories: int
    """How many it may reach, the one it starts from not counted."""
    links: int = LINKS_READ_MAX
    exceeded: bool = False
    """Whether it had to leave something out."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A memory that was reached, and how: by ``edge``, from the step ``before``. Both are missing at the start."""

    id: int
    depth: int = 0
    edge: Edge | None = None
    before: Step | None = None

    def path(self) -> list[Step]:
        """Return the steps from the start to this one, both included."""
        steps = [self]
        while (before := steps[-1].before) is not None:
            steps.append(before)
        return steps[::-1]

    @property
    def via(self) -> list[int]:
        """The memories between the start and this one."""
        return [step.id for step in self.path()[1:-1]]

    @property
    def rank(self) -> tuple[float, int]:
        """Its place among those that are as far away."""
        return (0.0 if self.edge is None else -self.edge.weight, self.id)


class Search:
    """A breadth-first search, one level at a time."""

    def __init__(self, start: int, edges_of: EdgesOf, budget: Budget) -> None:
        self.budget = budget
        self.frontier = [Step(start)]
        self.steps = {start: self.frontier[0]}
        """All that was reached, in its order."""
        self._edges_of = edges_of
        self._edges: dict[tuple[int, int, str], Edge] = {}

    def advance(self) -> list[Step]:
        """Go one step further from everything reached last, and return what was reached, in order."""
        reached: dict[int, Step] = {}
        for step in self.frontier:
            if self.budget.links <= 0:
                self.budget.exceeded = True
                break
            for edge in self._read(step.id):
                other = edge.to_id if edge.from_id == step.id else edge.from_id
                if other in self.steps:
                    continue
                candidate = Step(other, step.depth + 1, edge, step)
                if other not in reached or candidate.rank < reached[other].rank:
                    reached[other] = candidate
        self.frontier = sorted(reached.values(), key=lambda step: step.rank)
        if len(self.frontier) > self.budget.memories:
            self.budget.exceeded = True
            self.frontier = self.frontier[: self.budget.memories]
        self.budget.memories -= len(self.frontier)
        self.steps |= {step.id: step for step in self.frontier}
        return self.frontier

    def edges(self) -> list[Edge]:
        """Return the links that were read and have both ends among what was reached, each once."""
        return [edge for edge in self._edges.values() if edge.from_id in self.steps and edge.to_id in self.steps]

    def _read(self, memory_id: int) -> Sequence[Edge]:
        edges = self._edges_of(memory_id)
        self.budget.links -= len(edges)
        self._edges |= {(edge.from_id, edge.to_id, edge.edge_type): edge for edge in edges}
        return edges


def traverse(start: int, edges_of: EdgesOf, *, depth: int, budget: Budget) -> Search:
    """Return a search that has gone ``depth`` steps, or as far as there was something new."""
    search = Search(start, edges_of, budget)
    for _ in range(depth):
        if not search.advance():
            break
    return search


def shortest_path(start: int, goal: int, forward: EdgesOf, backward: EdgesOf, *, depth: int, budget: Budget) -> list[Step]:
    """Return a path of the fewest links, at most ``depth``; nothing if there is none or the budget did not suffice.

    It searches from both ends, always on from where fewer memories lie, and so meets in the middle after looking at about
    the square root of what a search from one end would. ``backward`` gives the links by which one comes to a memory.
    """
    if start == goal:
        return [Step(start)]
    near, far = Search(start, forward, budget), Search(goal, backward, budget)
    for _ in range(depth):
        side, other = sorted((near, far), key=lambda search: (len(search.frontier), len(search.steps)))
        # Whole levels without a meeting lie behind: wherever the two meet first, the path is a shortest one.
        meeting = next((step.id for step in side.advance() if step.id in other.steps), None)
        if meeting is not None:
            return _joined(near.steps[meeting], far.steps[meeting])
        if not side.frontier:  # nothing more is there, or the budget is used up
            break
    return []


def _joined(there: Step, back: Step) -> list[Step]:
    """Return the way there, continued by the way back from the other end to the same memory."""
    last = there
    beyond = back
    while beyond.before is not None:
        last = Step(beyond.before.id, last.depth + 1, beyond.edge, last)
        beyond = beyond.before
    return last.path()
