"""Memories that hold the same text, and the vectors by which similar ones are found. Only one workspace and scope at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apsw
import msgspec

from engine.catalogue.duplicates import EXCERPT_CHARACTERS, GROUP_MEMBERS_MAX, Twin
from engine.protocol.moment import to_text
from engine.recall.similarity import Passage
from engine.store.embedding_models import EmbeddingModel
from engine.store.selection import Selection

COMPARED_PASSAGES_MAX = 200_000
"""Passages that one call compares with, the last embedded first: reading so many takes a second."""

_EXCERPT = f"substr(m.content, 1, {EXCERPT_CHARACTERS})"
# The inner query reads only the index of the hashes: few of them are there twice.
_SAME_TEXT = """
    SELECT m.workspace, m.scope_type, m.scope_id, m.content_hash, count(*) FROM memories AS m
    WHERE m.content_hash IN (SELECT content_hash FROM memories GROUP BY content_hash HAVING count(*) > 1) AND {condition}
    GROUP BY 1, 2, 3, 4 HAVING count(*) > 1 ORDER BY max(m.id) DESC LIMIT ?
"""
_MEMBERS = """
    SELECT m.id FROM memories AS m
    WHERE m.content_hash = ? AND m.workspace = ? AND m.scope_type = ? AND m.scope_id IS ? AND {condition}
    ORDER BY m.id LIMIT ?
"""
_TWINS = f"""
    SELECT m.id, {_EXCERPT}, m.created_at, m.workspace FROM memories AS m WHERE m.id IN (SELECT value FROM json_each(?))
"""  # noqa: S608
# The cross join keeps the order of the loops: passages from the newest on.
_PASSAGES = """
    SELECT c.id, c.memory_id, m.workspace, m.scope_type, m.scope_id, m.content_hash, c.code
    FROM passage_codes AS c CROSS JOIN memories AS m ON m.id = c.memory_id
    WHERE c.id < ? AND c.model_id = ? AND {condition} ORDER BY c.id DESC LIMIT ?
"""
_COUNT = "SELECT count(*) FROM passage_codes"
_COSINES = """
    SELECT older.memory_id, newer.memory_id, 1.0 - vec_distance_cosine(older.vector, newer.vector)
    FROM json_each(?) AS j
    CROSS JOIN passages AS older ON older.id = j.value ->> 0 CROSS JOIN passages AS newer ON newer.id = j.value ->> 1
"""


class SameText(NamedTuple):
    """Memories with one text: the ids of the oldest, and how many there are."""

    workspace: str
    ids: list[int]
    members: int


def same_text(connection: apsw.Connection, selection: Selection, limit: int, now: int) -> list[SameText]:
    """Return up to ``limit`` groups of memories that say the same in one workspace and scope, the latest repeated first."""
    condition, parameters = selection.condition(now)
    groups: list[tuple[Any, ...]] = connection.execute(_SAME_TEXT.format(condition=condition), (*parameters, limit)).fetchall()
    query = _MEMBERS.format(condition=condition)
    return [
        SameText(
            workspace=workspace,
            ids=[
                row[0]
                for row in connection.execute(
                    query, (content_hash, workspace, scope_type, scope_id, *parameters, GROUP_MEMBERS_MAX)
                )
            ],
            members=members,
        )
        for workspace, scope_type, scope_id, content_hash, members in groups
    ]


def passages(
    connection: apsw.Connection, selection: Selection, model: EmbeddingModel, before: int, now: int
) -> Iterator[Passage]:
    """Yield the selected memories' passages with lower ids than that, newest first, as many as one call compares."""
    condition, parameters = selection.condition(now)
    given = (before, model.id, *parameters, COMPARED_PASSAGES_MAX)
    for passage_id, memory_id, *same, content_hash, code in connection.execute(_PASSAGES.format(condition=condition), given):
        yield Passage(passage_id, memory_id, hash(tuple(same)), hash(content_hash), code)


def passage_count(connection: apsw.Connection) -> int:
    """Return how many passages are stored, also those of a model that is being replaced."""
    return int(connection.execute(_COUNT).get)


def cosines(connection: apsw.Connection, pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int, float]]:
    """Return for pairs of passages, an older and a newer, their memories and the cosine of their vectors."""
    return list(connection.execute(_COSINES, (msgspec.json.encode(list(pairs)).decode(),)))


def twins(connection: apsw.Connection, ids: Iterable[int]) -> dict[int, tuple[str, Twin]]:
    """Return each memory's workspace and what to show of it."""
    rows: Iterable[tuple[Any, ...]] = connection.execute(_TWINS, (msgspec.json.encode(list(ids)).decode(),))
    return {
        memory_id: (workspace, Twin(id=memory_id, excerpt=excerpt, created_at=to_text(created_at)))
        for memory_id, excerpt, created_at, workspace in rows
    }
