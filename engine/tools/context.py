"""Builds a context: gathers what may matter for a question, and has it fitted into a budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from engine.catalogue.context import (
    BUILD,
    LEFT_OUT_SHOWN_MAX,
    PROMPT,
    BuildContext,
    Context,
    ContextPiece,
    ContextQuery,
    InjectionPrompt,
    LeftOut,
    Prompt,
    Reason,
)
from engine.catalogue.memory import Memory
from engine.catalogue.search import Hit, MemorySearch
from engine.catalogue.timeframe import microseconds
from engine.protocol import Request
from engine.protocol.moment import to_text
from engine.recall.budget import Candidate, Piece, Section, pack
from engine.recall.highlight import MARK
from engine.recall.quotation import PREAMBLE, heading
from engine.recall.tokens import estimate
from engine.store import links, memories, notable
from engine.store.database import Database
from engine.store.selection import Selection
from engine.tools.handler import Handler
from engine.tools.search import search

MATCHES_MAX = 50
MATCHES_FOLLOWED = 10
"""Links are followed from the best matches only: what hangs on a weak one is weaker still."""

LINKED_MAX = 20
NOTABLE_MAX = 10

_Match = tuple[Memory, Hit]

# Which reason comes first, and what share of the budget each may use before the others have had theirs.
_SHARES: MappingProxyType[str, dict[Reason, float]] = MappingProxyType(
    {
        "balanced": {"match": 0.6, "linked": 0.2, "important": 0.1, "recent": 0.1},
        "greedy": {"match": 1.0, "linked": 0.0, "important": 0.0, "recent": 0.0},
        "recency": {"recent": 0.5, "match": 0.3, "linked": 0.1, "important": 0.1},
    }
)


class _Origin(NamedTuple):
    """Why a memory is a candidate."""

    reason: Reason
    score: float | None = None
    linked_to: int | None = None
    edge_type: str | None = None
    focus: int = 0


@dataclass(frozen=True)
class _Gathered:
    memories: dict[int, Memory]
    origins: dict[int, _Origin]
    sections: list[Section]
    repeated: list[LeftOut]
    mode: str


def build(database: Database, arguments: BuildContext, request: Request) -> Context:
    """Return the pieces of a context, each with its reason."""
    gathered, pieces = _build(database, arguments, arguments.total_budget, request)
    packed = {piece.id for piece in pieces}
    no_room = [
        LeftOut(id=candidate.id, reason=gathered.origins[candidate.id].reason, why="no_room")
        for section in gathered.sections
        for candidate in section.candidates
        if candidate.id not in packed
    ]
    left_out = no_room + gathered.repeated
    return Context(
        pieces=[_shown(piece, gathered) for piece in pieces],
        tokens=sum(piece.tokens for piece in pieces),
        budget=arguments.total_budget,
        left_out=left_out[:LEFT_OUT_SHOWN_MAX],
        left_out_total=len(left_out),
        mode=gathered.mode,
    )


def injection_prompt(database: Database, arguments: InjectionPrompt, request: Request) -> Prompt:
    """Return a context as one text of quoted memories."""
    _, pieces = _build(database, arguments, arguments.token_budget - estimate(PREAMBLE), request)
    text = "".join((PREAMBLE, *(piece.quotation for piece in pieces))) if pieces else ""
    return Prompt(prompt=text, tokens=estimate(text), budget=arguments.token_budget, memories=[piece.id for piece in pieces])


def _build(database: Database, arguments: ContextQuery, budget: int, request: Request) -> tuple[_Gathered, list[Piece]]:
    gathered = _gather(database, arguments, request)
    return gathered, pack(gathered.sections, budget)


def _gather(database: Database, arguments: ContextQuery, request: Request) -> _Gathered:
    connection, now = database.connection, database.now()
    since = None if arguments.timeframe is None else now - microseconds(arguments.timeframe)
    selection = Selection(workspace=arguments.workspace, tags=arguments.tags, created_after=since)
    hits, mode = _search(database, arguments, since, request)
    found: dict[Reason, dict[int, _Origin]] = {
        "match": {memory.id: _Origin("match", score=hit.score, focus=_focus(hit, memory)) for memory, hit in hits},
        "linked": _linked(database, hits[:MATCHES_FOLLOWED], selection) if arguments.include_graph else {},
        "important": dict.fromkeys(notable.important(connection, selection, NOTABLE_MAX, now), _Origin("important")),
        "recent": dict.fromkeys(notable.latest(connection, selection, NOTABLE_MAX, now), _Origin("recent")),
    }
    known = {memory.id: memory for memory, _ in hits}
    known |= memories.get_many(connection, {i for origins in found.values() for i in origins} - known.keys(), now)
    return _arrange(found, known, _SHARES[arguments.strategy], mode)


def _search(database: Database, arguments: ContextQuery, since: int | None, request: Request) -> tuple[list[_Match], str]:
    query = MemorySearch(
        query=arguments.query,
        limit=MATCHES_MAX,
        workspace=arguments.workspace,
        tags=arguments.tags,
        min_score=arguments.min_score,
        created_after=None if since is None else datetime.fromisoformat(to_text(since)),
    )
    answer = search(database, query, request)
    return [(hit.memory, hit) for hit in answer.results if hit.memory is not None], answer.mode


def _focus(hit: Hit, memory: Memory) -> int:
    """Return where in the content the match is: its best passage, or the first of its words."""
    if hit.passage is not None:
        return hit.passage[0]
    if hit.highlights:
        return max(0, memory.content.find(hit.highlights[0].replace(MARK, "")))
    return 0


def _linked(database: Database, hits: list[_Match], selection: Selection) -> dict[int, _Origin]:
    """Return what is linked with the hits, by the strongest link of each, the strongest first."""
    best: dict[int, tuple[float, _Origin]] = {}
    now = database.now()
    for memory, _ in hits:
        for edge in links.edges(database.connection, memory.id, now):
            end = edge.to_id if edge.from_id == memory.id else edge.from_id
            if end not in best or edge.weight > best[end][0]:
                best[end] = (edge.weight, _Origin("linked", linked_to=memory.id, edge_type=edge.edge_type))
    selected = notable.among(database.connection, selection, best, now)
    order = sorted(selected, key=lambda memory_id: (-best[memory_id][0], memory_id))
    return {memory_id: best[memory_id][1] for memory_id in order[:LINKED_MAX]}


def _arrange(
    found: dict[Reason, dict[int, _Origin]], known: dict[int, Memory], shares: dict[Reason, float], mode: str
) -> _Gathered:
    """Put each memory under the first of its reasons, and each text in once."""
    texts: set[str] = set()
    origins: dict[int, _Origin] = {}
    sections: list[Section] = []
    repeated: list[LeftOut] = []
    for reason, share in shares.items():
        candidates = []
        for memory, origin in _new(found[reason], known, origins):
            if memory.content_hash in texts:
                repeated.append(LeftOut(id=memory.id, reason=reason, why="same_text"))
                continue
            texts.add(memory.content_hash)
            head = heading(memory.id, _date(memory), memory.type, memory.workspace)
            candidates.append(Candidate(id=memory.id, head=head, content=memory.content, focus=origin.focus))
        sections.append(Section(share=share, candidates=candidates))
    return _Gathered(known, origins, sections, repeated, mode)


def _new(found: dict[int, _Origin], known: dict[int, Memory], origins: dict[int, _Origin]) -> Iterator[tuple[Memory, _Origin]]:
    """Yield what no earlier reason has brought, and note its origin."""
    for memory_id, origin in found.items():
        if memory_id in known and memory_id not in origins:
            origins[memory_id] = origin
            yield known[memory_id], origin


def _shown(piece: Piece, gathered: _Gathered) -> ContextPiece:
    memory, origin = gathered.memories[piece.id], gathered.origins[piece.id]
    return ContextPiece(
        id=piece.id,
        text=piece.text,
        whole=piece.whole,
        tokens=piece.tokens,
        reason=origin.reason,
        score=origin.score,
        linked_to=origin.linked_to,
        edge_type=origin.edge_type,
        type=memory.type,
        workspace=memory.workspace,
        date=_date(memory),
    )


def _date(memory: Memory) -> str:
    return (memory.event_time or memory.created_at)[:10]


HANDLERS: dict[str, Handler] = {BUILD.name: build, PROMPT.name: injection_prompt}
