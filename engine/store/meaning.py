"""Which memories lie nearest to a query by meaning.

Few passages are all compared exactly. Many are put in the order of their codes' scores (``vector_image``); going down from the
best, memories that are not selected are left out, until enough have passed, and the passages met are compared exactly. The
outcome is that of selecting first and looking for the nearest of the selected then. Where a selection lets so little
through that going down costs more, the selected are asked for first, and the same is done with their passages alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import apsw
import msgspec
import numpy as np

from engine.protocol import Embedding
from engine.recall.spread import Spread
from engine.store import embedding_models, spread, vector_code
from engine.store.embedding_models import EmbeddingModel
from engine.store.selection import Selection
from engine.store.vector_code import QueryMasks, Scores
from engine.store.vector_image import Positions, VectorImage, best_first

COMPARED_MAX = 2_000
"""So many passages are compared one by one in the time that looking up the best of more takes."""

_LOOK_UP_COST = 16
"""What looking up a memory in vain costs, in rows that a scan of all memories for the selected ones passes meanwhile."""

_DEEPER = 1.3
"""Going down once more costs more than looking up some too many: so much deeper than what has passed so far asks for."""

_COSINE = "1.0 - vec_distance_cosine(p.vector, ?)"
_COMPARE_ALL = f"""
    WITH scored AS MATERIALIZED (
        SELECT p.memory_id, max({_COSINE}) AS cosine, p.start_char, p.end_char
        FROM memories AS m CROSS JOIN passages AS p ON p.memory_id = m.id
        WHERE p.model_id = ? AND {{condition}} GROUP BY p.memory_id
    ), spread AS MATERIALIZED (SELECT count(*), avg(cosine), avg(cosine * cosine) FROM scored)
    SELECT * FROM scored, spread ORDER BY cosine DESC, memory_id DESC LIMIT ?
"""  # noqa: S608
_NEARNESS = f"""
    SELECT p.memory_id, max({_COSINE}), p.start_char, p.end_char
    FROM passages AS p WHERE p.model_id = ? AND p.memory_id IN (SELECT value FROM json_each(?)) GROUP BY p.memory_id
"""  # noqa: S608
_PASSING = """
    SELECT {columns} FROM json_each(?) AS j CROSS JOIN passage_codes AS c ON c.id = j.value
    CROSS JOIN memories AS m ON m.id = c.memory_id CROSS JOIN passages AS p ON p.id = c.id WHERE {condition}
"""
_COMPARED = f"p.memory_id, {_COSINE}, p.start_char, p.end_char"
_SELECTED = "SELECT m.id FROM memories AS m WHERE {condition}"


@dataclass(frozen=True, kw_only=True)
class Nearness:
    """A memory's best passage for a query: its cosine, and where in the content it stands, in characters."""

    cosine: float
    start: int
    end: int


def nearest(
    image: VectorImage, query: Embedding, selection: Selection, *, limit: int, now: int
) -> tuple[dict[int, Nearness], Spread]:
    """Return the ``limit`` selected memories nearest to the query, the nearest first, each with its best passage.

    With them comes the spread of the cosines of all selected memories, each counted once, or an estimate of it.
    """
    connection = image.connection
    held = embedding_models.active(connection)
    if held is None:
        return {}, Spread()
    vector = _query_vector(held, query)
    image.synchronise(held)
    condition, parameters = selection.condition(now)
    if image.count <= COMPARED_MAX:
        return _compare_all(connection, held, vector, condition, parameters, limit)
    scores = image.scores(QueryMasks(vector))
    choice = _Choice(image, vector, condition, parameters)
    among = None
    found = _descend(scores, None, choice, limit)
    if found is None:
        among = choice.everything_selected()
        found = _descend(scores[among], among, choice, limit)
        assert found is not None
    population = spread.Population(image, scores, among, None if selection.is_everything else choice.passing)
    return found, spread.estimate(population, vector)


def nearness(connection: apsw.Connection, query: Embedding, ids: Iterable[int]) -> dict[int, Nearness]:
    """Return the nearness of given memories; those without vectors are left out."""
    held = embedding_models.active(connection)
    if held is None:
        return {}
    parameters = (_query_vector(held, query), held.id, _encoded(ids))
    return _nearness_of(connection.execute(_NEARNESS, parameters).fetchall())


class _Choice:
    """The selection, asked about passages by their position in the image."""

    def __init__(self, image: VectorImage, vector: bytes, condition: str, parameters: list[Any]) -> None:
        self._image = image
        self._vector = vector
        self._passing = _PASSING.format(columns="j.key", condition=condition)
        self._compared = _PASSING.format(columns=_COMPARED, condition=condition)
        self._selected = _SELECTED.format(condition=condition)
        self._parameters = parameters

    def passing(self, positions: Positions) -> Positions:
        """Return those of selected memories that are still there, in the same order."""
        query, ids = self._passing, _encoded(self._image.ids[positions])
        keys: list[tuple[Any, ...]] = self._image.connection.execute(query, (ids, *self._parameters)).fetchall()
        return positions[[key for (key,) in keys]]

    def compared(self, positions: Positions) -> list[tuple[int, float, int, int]]:
        """Return those of selected memories that are still there, in the same order: memory, cosine, start and end."""
        ids = _encoded(self._image.ids[positions])
        rows = self._image.connection.execute(self._compared, (self._vector, ids, *self._parameters))
        return rows.fetchall()  # type: ignore[return-value]

    def everything_selected(self) -> Positions:
        """Return the positions of all selected memories' passages, ascending."""
        rows = self._image.connection.execute(self._selected, self._parameters).fetchall()
        ids = np.fromiter((memory_id for (memory_id,) in rows), dtype=np.int64, count=len(rows))
        return np.flatnonzero(np.isin(self._image.memory_ids, ids))


def _descend(scores: Scores, among: Positions | None, choice: _Choice, limit: int) -> dict[int, Nearness] | None:
    """Return the memories met from the best score down to where the last of ``limit`` is met, the nearest first.

    ``scores`` are those of the passages ``among`` which to look, or of all. ``None``: asking for the selected is cheaper.
    """
    met: dict[int, Nearness] = {}
    seen, passed, depth = 0, 0, limit
    while seen < len(scores) and len(met) < limit:
        order = best_first(scores, depth)
        compared = choice.compared(order[seen:] if among is None else among[order[seen:]])
        for memory_id, cosine, start, end in compared:
            if memory_id not in met or cosine > met[memory_id].cosine:
                met[memory_id] = Nearness(cosine=cosine, start=start, end=end)
            if len(met) == limit:
                break
        seen, passed = len(order), passed + len(compared)
        to_go = (limit - len(met)) * seen / (len(met) + 1)
        in_vain = min(to_go, len(scores) - seen) * (1 - passed / seen)
        if among is None and in_vain * _LOOK_UP_COST > len(scores):
            return None
        depth = seen + math.ceil(to_go * _DEEPER)
    return dict(sorted(met.items(), key=lambda item: (-item[1].cosine, -item[0])))


def _compare_all(
    connection: apsw.Connection, held: EmbeddingModel, vector: bytes, condition: str, parameters: list[Any], limit: int
) -> tuple[dict[int, Nearness], Spread]:
    """Compare every passage of the selected memories."""
    query = _COMPARE_ALL.format(condition=condition)
    rows: list[tuple[Any, ...]] = connection.execute(query, (vector, held.id, *parameters, limit)).fetchall()
    if not rows:
        return {}, Spread()
    count, mean, mean_square = rows[0][4:]
    deviation = math.sqrt(max(0.0, mean_square - mean * mean))
    return _nearness_of(rows), Spread(count=count, mean=mean, deviation=deviation)


def _nearness_of(rows: list[tuple[Any, ...]]) -> dict[int, Nearness]:
    return {row[0]: Nearness(cosine=row[1], start=row[2], end=row[3]) for row in rows}


def _query_vector(held: EmbeddingModel, query: Embedding) -> bytes:
    """Return the query's vector; ``wrong_model`` when it can't be compared with the ones that are here."""
    if held.name != query.model or len(query.passages) != 1:
        raise embedding_models.wrong_model(held.name, query.model)
    vector = query.passages[0].vector
    vector_code.check(vector, held.dimensions)
    return vector


def _encoded(ids: Iterable[int]) -> str:
    return msgspec.json.encode(ids.tolist() if isinstance(ids, np.ndarray) else list(ids)).decode()
