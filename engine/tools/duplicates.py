"""Suggests memories that may be duplicates."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from engine.catalogue.duplicates import FIND, Duplicate, Duplicates, FindDuplicates
from engine.catalogue.memory import ID_MAX
from engine.protocol import Request
from engine.recall.similarity import Passage, propose
from engine.store import duplicates, embedding_models
from engine.store.database import Database
from engine.store.selection import Selection
from engine.tools.handler import Handler

COMPARISONS_MAX = 20_000_000
"""Pairs of passages that one call compares: half a second of one core, for which the database's other requests wait."""

EXAMINED_MAX = 1000
EXAMINED_MIN = 40
_BLOCK_PASSAGES = 1024

_Pairs = dict[int, tuple[int, float]]
"""For a memory another one that is most like it, and their cosine."""


def find(database: Database, arguments: FindDuplicates, request: Request) -> Duplicates:
    """Return groups of the same text, then pairs of similar ones."""
    selection = Selection(workspace=arguments.workspace)
    groups: list[duplicates.SameText] = []
    if arguments.before is None:
        groups = duplicates.same_text(database.connection, selection, arguments.limit + 1, database.now())
    pairs, examined = _similar(database, arguments, selection)
    found = _described(database, groups, pairs)
    return Duplicates(
        duplicates=found[: arguments.limit],
        examined=len(examined),
        next_before=_next(database, selection, examined),
        truncated=len(found) > arguments.limit,
    )


def _similar(database: Database, arguments: FindDuplicates, selection: Selection) -> tuple[_Pairs, list[Passage]]:
    """Return pairs of similar memories, and the passages that were examined."""
    connection, now = database.connection, database.now()
    model = embedding_models.active(connection)
    if model is None:
        return {}, []
    passages = duplicates.passages(connection, selection, model, arguments.before or ID_MAX, now)
    examined = list(islice(passages, _examined_max(database)))
    blocks = _blocks(chain(examined, passages))
    proposals = propose(examined, blocks, model.dimensions, arguments.threshold)
    pairs: _Pairs = {}
    for older, newer, cosine in duplicates.cosines(connection, ((one.older, one.newer) for one in proposals)):
        if cosine >= arguments.threshold and (newer not in pairs or (cosine, older) > pairs[newer][::-1]):
            pairs[newer] = (older, cosine)
    return pairs, examined


def _examined_max(database: Database) -> int:
    compared = max(1, min(duplicates.passage_count(database.connection), duplicates.COMPARED_PASSAGES_MAX))
    return max(EXAMINED_MIN, min(EXAMINED_MAX, COMPARISONS_MAX // compared))


def _blocks(passages: Iterator[Passage]) -> Iterator[list[Passage]]:
    while block := list(islice(passages, _BLOCK_PASSAGES)):
        yield block


def _next(database: Database, selection: Selection, examined: list[Passage]) -> int | None:
    """Return where to go on, ``None`` when there is nothing before what was examined."""
    model = embedding_models.active(database.connection)
    if model is None or not examined:
        return None
    last = examined[-1].id
    before = duplicates.passages(database.connection, selection, model, last, database.now())
    return None if next(before, None) is None else last


def _described(database: Database, groups: list[duplicates.SameText], pairs: _Pairs) -> list[Duplicate]:
    """Return what to show of the suggestions, the surest first."""
    named = {memory_id for group in groups for memory_id in group.ids} | pairs.keys() | {older for older, _ in pairs.values()}
    twins = duplicates.twins(database.connection, named)
    same = [
        Duplicate(
            reason="same_text",
            score=1.0,
            workspace=group.workspace,
            count=group.members,
            memories=[twins[memory_id][1] for memory_id in group.ids],
        )
        for group in groups
    ]
    similar = [
        Duplicate(
            reason="similar",
            score=min(1.0, cosine),
            workspace=twins[newer][0],
            count=2,
            memories=[twins[memory_id][1] for memory_id in sorted((older, newer))],
        )
        for newer, (older, cosine) in sorted(pairs.items(), key=lambda item: (-item[1][1], -item[0]))
    ]
    return same + similar


HANDLERS: dict[str, Handler] = {FIND.name: find}
