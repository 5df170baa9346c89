"""Following links: what is reached, in which order and by which way, against a model that is too simple to be wrong."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.catalogue.graph import Edge
from engine.recall.graph import Budget, EdgesOf, Search, Step, present_confidence, shortest_path, traverse

DAY = 24 * 60 * 60 * 1_000_000
START = 1
FAR = 10**6

nodes = st.integers(1, 9)
weights = st.sampled_from([0.0, 0.25, 0.5, 1.0])
edges = st.builds(
    Edge,
    from_id=nodes,
    to_id=nodes,
    edge_type=st.sampled_from(["related_to", "blocks"]),
    strength=weights,
    confidence=weights,
).filter(lambda edge: edge.from_id != edge.to_id)
graphs = st.lists(edges, max_size=24, unique_by=lambda edge: (edge.from_id, edge.to_id, edge.edge_type))
depths = st.integers(1, 8)


def outgoing(graph: list[Edge]) -> EdgesOf:
    return lambda node: [edge for edge in graph if edge.from_id == node]


def incoming(graph: list[Edge]) -> EdgesOf:
    return lambda node: [edge for edge in graph if edge.to_id == node]


def both(graph: list[Edge]) -> EdgesOf:
    return lambda node: [edge for edge in graph if node in (edge.from_id, edge.to_id)]


ways = st.sampled_from([outgoing, incoming, both])


def distances(start: int, edges_of: EdgesOf) -> dict[int, int]:
    """Relax until nothing changes (Bellman and Ford): no queue, no levels."""
    distance = {start: 0}
    changed = True
    while changed:
        changed = False
        for node in list(distance):
            for edge in edges_of(node):
                other = edge.to_id if edge.from_id == node else edge.from_id
                if distance[node] + 1 < distance.get(other, FAR):
                    distance[other] = distance[node] + 1
                    changed = True
    return distance


def connects(edge: Edge, first: int, second: int) -> bool:
    return {edge.from_id, edge.to_id} == {first, second}


def ids(search: Search) -> list[int]:
    return list(search.steps)


@given(graphs, ways, depths)
def test_what_is_reached_is_what_is_near_enough(graph: list[Edge], way: Callable[..., EdgesOf], depth: int) -> None:
    budget = Budget(memories=100)
    search = traverse(START, way(graph), depth=depth, budget=budget)

    expected = {node: far for node, far in distances(START, way(graph)).items() if far <= depth}
    assert {step.id: step.depth for step in search.steps.values()} == expected
    assert not budget.exceeded


@given(graphs, ways, depths)
def test_the_order_is_by_depth_then_weight_then_id(graph: list[Edge], way: Callable[..., EdgesOf], depth: int) -> None:
    search = traverse(START, way(graph), depth=depth, budget=Budget(memories=100))

    distance = distances(START, way(graph))

    def place(node: int) -> tuple[int, float, int]:
        before = [near for near, far in distance.items() if far == distance[node] - 1]
        heaviest = max((edge.weight for near in before for edge in way(graph)(near) if connects(edge, near, node)), default=0)
        return distance[node], -heaviest, node

    assert ids(search) == sorted(search.steps, key=place)


def test_of_several_links_to_a_memory_the_heaviest_counts() -> None:
    def edge(from_id: int, to_id: int, edge_type: str, confidence: float) -> Edge:
        return Edge(from_id=from_id, to_id=to_id, edge_type=edge_type, strength=1.0, confidence=confidence)

    graph = [edge(1, 2, "blocks", 0.1), edge(1, 3, "blocks", 0.5), edge(1, 2, "extends", 0.9), edge(2, 1, "blocks", 0.2)]
    steps = traverse(1, both(graph), depth=1, budget=Budget(memories=9)).steps

    assert [(step.id, step.edge) for step in steps.values()] == [(1, None), (2, graph[2]), (3, graph[1])]


@given(graphs, ways, depths)
def test_each_way_is_made_of_links_and_as_long_as_its_depth(graph: list[Edge], way: Callable[..., EdgesOf], depth: int) -> None:
    for step in traverse(START, way(graph), depth=depth, budget=Budget(memories=100)).steps.values():
        path = step.path()

        assert [path[0].id, *step.via, step.id][-len(path) :] == [passed.id for passed in path]
        assert [passed.depth for passed in path] == list(range(step.depth + 1))
        assert path[0].id == START
        for before, after in pairwise(path):
            assert after.edge in way(graph)(before.id)
            assert connects(after.edge, before.id, after.id)


@given(graphs, depths, st.integers(1, 9))
def test_a_limit_cuts_the_order_and_says_so(graph: list[Edge], depth: int, limit: int) -> None:
    everything = ids(traverse(START, both(graph), depth=depth, budget=Budget(memories=100)))
    budget = Budget(memories=limit)
    limited = ids(traverse(START, both(graph), depth=depth, budget=budget))

    assert limited == everything[: limit + 1]
    assert budget.exceeded is (len(everything) > limit + 1)


@given(graphs, depths)
def test_the_links_shown_are_those_among_what_was_reached(graph: list[Edge], depth: int) -> None:
    search = traverse(START, both(graph), depth=depth, budget=Budget(memories=100))
    left = {step.id for step in search.steps.values() if step.depth < depth}

    expected = [edge for edge in graph if left & {edge.from_id, edge.to_id}]
    assert sorted(search.edges(), key=repr) == sorted(expected, key=repr)


@given(graphs, ways, nodes, depths)
def test_a_path_is_a_shortest_one(graph: list[Edge], way: Callable[..., EdgesOf], goal: int, depth: int) -> None:
    back = {outgoing: incoming, incoming: outgoing, both: both}[way]
    path = shortest_path(START, goal, way(graph), back(graph), depth=depth, budget=Budget(memories=100))

    length = distances(START, way(graph)).get(goal, FAR)
    assert len(path) == (length + 1 if length <= depth else 0)
    if path:
        assert (path[0].id, path[-1].id) == (START, goal)
        assert [step.depth for step in path] == list(range(length + 1))
    for before, after in pairwise(path):
        assert after.before is before
        assert after.edge in way(graph)(before.id)
        assert connects(after.edge, before.id, after.id)


def test_a_search_from_both_ends_looks_at_little() -> None:
    read: list[int] = []

    def tree(node: int) -> list[Edge]:
        """Ten children each: 11,111 nodes within four steps of the root, the goal eight steps away among 10^8."""
        read.append(node)
        around = [(node, node * 10 + digit) for digit in range(10)] + ([(node // 10, node)] if node > 1 else [])
        return [Edge(from_id=near, to_id=far, edge_type="extends", strength=1, confidence=1) for near, far in around]

    path = shortest_path(1, 12_345, tree, tree, depth=8, budget=Budget(memories=1000))

    assert [step.id for step in path] == [1, 12, 123, 1234, 12_345]
    assert len(read) < 150


def test_links_read_are_bounded_and_the_rest_is_said_to_be_missing() -> None:
    def crowd(node: int) -> list[Edge]:
        return [
            Edge(from_id=node, to_id=node * 100 + number, edge_type="blocks", strength=1, confidence=1) for number in range(100)
        ]

    budget = Budget(memories=10_000, links=250)
    search = traverse(1, crowd, depth=2, budget=budget)

    assert len(search.steps) == 1 + 100 + 2 * 100
    assert budget.exceeded


def test_a_graph_too_large_gives_no_path_and_says_that_it_gave_up() -> None:
    def line(node: int) -> list[Edge]:
        return [Edge(from_id=node, to_id=node + 1, edge_type="follows_up", strength=1, confidence=1)]

    budget = Budget(memories=3)

    assert shortest_path(1, 9, line, lambda _: [], depth=8, budget=budget) == []
    assert not budget.exceeded  # nothing leads to the goal, and that was found out at once

    def line_back(node: int) -> list[Edge]:
        return [Edge(from_id=node - 1, to_id=node, edge_type="follows_up", strength=1, confidence=1)]

    assert shortest_path(1, 9, line, line_back, depth=8, budget=budget) == []
    assert budget.exceeded


def test_a_way_from_a_memory_to_itself_has_no_links() -> None:
    (step,) = shortest_path(5, 5, lambda _: [], lambda _: [], depth=1, budget=Budget(memories=1))

    assert (step.id, step.depth, step.edge) == (5, 0, None)


@pytest.mark.parametrize(
    ("age_days", "pinned", "left"),
    [(0, False, 0.8), (30, False, 0.4), (60, False, 0.2), (15, False, 0.8 * 0.5**0.5), (60, True, 0.8), (-5, False, 0.8)],
)
def test_confidence_halves_in_thirty_days_unless_pinned(age_days: int, pinned: bool, left: float) -> None:
    reinforced_at = 1_790_000_000_000_000
    now = reinforced_at + age_days * DAY

    assert present_confidence(0.8, reinforced_at=reinforced_at, pinned=pinned, now=now) == pytest.approx(left)


def test_confidence_is_what_was_said_for_the_first_hour() -> None:
    hour = DAY // 24

    assert present_confidence(0.8, reinforced_at=0, pinned=False, now=hour - 1) == 0.8
    assert present_confidence(0.8, reinforced_at=0, pinned=False, now=hour) < 0.8


@given(st.floats(0, 1), st.integers(0, 2**62), st.integers(0, 2**62))
def test_confidence_never_grows_and_stays_a_share(confidence: float, earlier: int, later: int) -> None:
    earlier, later = sorted((earlier, later))
    before = present_confidence(confidence, reinforced_at=0, pinned=False, now=earlier)
    after = present_confidence(confidence, reinforced_at=0, pinned=False, now=later)

    assert 0 <= after <= before <= confidence


def test_a_step_knows_its_way() -> None:
    start = Step(1)
    second = Step(2, 1, None, start)

    assert Step(3, 2, None, second).via == [2]
    assert second.via == []
    assert start.via == []
