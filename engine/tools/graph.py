"""Following links."""

from __future__ import annotations

from functools import partial

from engine.catalogue.graph import (
    EXCERPT_CHARACTERS,
    FIND_PATH,
    REACHED_MAX,
    RELATED,
    TRAVERSE,
    FoundPath,
    MemoryFindPath,
    MemoryRelated,
    MemoryTraverse,
    Node,
    Related,
    RelatedMemories,
    Traversal,
)
from engine.catalogue.links import Direction
from engine.protocol import Request
from engine.recall import graph
from engine.recall.graph import Budget, Step
from engine.store import links, memories
from engine.store.database import Database
from engine.tools.handler import Handler

_REVERSED: dict[Direction, Direction] = {"outgoing": "incoming", "incoming": "outgoing", "both": "both"}


def related(database: Database, arguments: MemoryRelated, request: Request) -> RelatedMemories:
    """Return the memories around one, whole."""
    connection, now = database.connection, database.now()
    links.check_end(connection, arguments.id, now, "id")
    edge_types = [] if arguments.edge_type is None else [arguments.edge_type]
    edges_of = partial(links.edges, connection, now=now, direction=arguments.direction, edge_types=edge_types)
    budget = Budget(memories=arguments.limit)
    search = graph.traverse(arguments.id, edges_of, depth=arguments.depth, budget=budget)
    found = memories.get_many(connection, search.steps, now)
    reached = [
        Related(memory=found[step.id], depth=step.depth, via=step.via, edge=step.edge)
        for step in search.steps.values()
        if step.edge is not None
    ]
    return RelatedMemories(related=reached, truncated=budget.exceeded)


def traverse(database: Database, arguments: MemoryTraverse, request: Request) -> Traversal:
    """Return the memories around one in short, with the links among them."""
    connection, now = database.connection, database.now()
    links.check_end(connection, arguments.id, now, "id")
    edges_of = partial(
        links.edges,
        connection,
        now=now,
        direction=arguments.direction,
        edge_types=arguments.edge_types,
        min_confidence=arguments.min_confidence,
    )
    budget = Budget(memories=arguments.limit)
    search = graph.traverse(arguments.id, edges_of, depth=arguments.depth, budget=budget)
    return Traversal(
        nodes=[_node(database, step) for step in search.steps.values()], edges=search.edges(), truncated=budget.exceeded
    )


def find_path(database: Database, arguments: MemoryFindPath, request: Request) -> FoundPath:
    """Return a shortest path, the memories on it in short."""
    connection, now = database.connection, database.now()
    for field in ("from_id", "to_id"):
        links.check_end(connection, getattr(arguments, field), now, field)
    forward, backward = (
        partial(links.edges, connection, now=now, direction=direction, edge_types=arguments.edge_types)
        for direction in (arguments.direction, _REVERSED[arguments.direction])
    )
    budget = Budget(memories=REACHED_MAX)
    steps = graph.shortest_path(arguments.from_id, arguments.to_id, forward, backward, depth=arguments.max_depth, budget=budget)
    return FoundPath(
        found=bool(steps),
        path=[step.id for step in steps],
        nodes=[_node(database, step) for step in steps],
        edges=[step.edge for step in steps if step.edge is not None],
        truncated=budget.exceeded and not steps,
    )


def _node(database: Database, step: Step) -> Node:
    beginning, memory_type, tags, workspace = links.glimpse(database.connection, step.id, EXCERPT_CHARACTERS + 1)
    return Node(
        id=step.id,
        excerpt=_excerpt(beginning),
        type=memory_type,
        tags=tags,
        workspace=workspace,
        depth=step.depth,
        via=step.via,
    )


def _excerpt(beginning: str) -> str:
    """Return a text that may be a character too long, cut between words where there are any."""
    if len(beginning) <= EXCERPT_CHARACTERS:
        return beginning
    space = max((at for at, sign in enumerate(beginning) if sign.isspace()), default=0)
    return beginning[: space or EXCERPT_CHARACTERS].rstrip()


HANDLERS: dict[str, Handler] = {RELATED.name: related, TRAVERSE.name: traverse, FIND_PATH.name: find_path}
