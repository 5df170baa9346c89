"""How a query's cosines spread over many memories, told from their scores and a few exact cosines.

A score goes along with the cosine: a straight line through a few passages of which both are known, chosen blindly, gives the
mean of all cosines from the mean of all scores, and their deviation from the scores' and from how far the few lie off the line.
(Measured on MiniLM: the mean comes within 5% of a standard deviation, half the error of as many cosines by themselves; the
deviation within 10%.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.recall.spread import Spread
from engine.store.vector_code import Scores
from engine.store.vector_image import Positions, VectorImage, runs

COMPARED = 64
"""Passages compared exactly."""

SAMPLE_MEMORIES = 256
"""Looked at when a selection is known only by asking for each memory. Blind: so many in even distances of age."""

_SAMPLE_MIN = 32
"""With fewer memories selected from the sample, all memories tell more of the selected than these do."""

_COSINES = """
    SELECT j.key, 1.0 - vec_distance_cosine(p.vector, ?) FROM json_each(?) AS j CROSS JOIN passages AS p ON p.id = j.value
"""


@dataclass(frozen=True)
class Population:
    """The passages whose memories are meant."""

    image: VectorImage
    scores: Scores
    """Of every passage in the image."""
    among: Positions | None
    """The positions of the selected, if they are known."""
    passing: Callable[[Positions], Positions] | None
    """Leaves out those not selected. ``None`` when nothing is left out."""


def estimate(population: Population, vector: bytes) -> Spread:
    """Return the spread of the cosines with ``vector``, each memory counted once with its best passage's."""
    known, cosines = _compared(population, vector)
    if not len(known):
        return Spread()
    scores = _best_scores(population)
    offsets = known - known.mean()
    square = float(np.square(offsets).sum())
    slope = float((offsets * cosines).sum()) / square if square > 0 else 0.0
    errors = cosines - cosines.mean() - slope * offsets
    freedom = max(1, len(known) - 2)
    variance = slope**2 * float(scores.var()) + float(np.square(errors).sum()) / freedom
    mean = float(cosines.mean()) + slope * (float(scores.mean()) - float(known.mean()))
    return Spread(count=len(scores), mean=mean, deviation=float(np.sqrt(variance)))


def _best_scores(population: Population) -> Scores:
    """Return the best score of each memory meant, or of a sample of them."""
    image, scores = population.image, population.scores
    if population.among is not None:
        return np.maximum.reduceat(scores[population.among], runs(image.memory_ids[population.among]))
    best = scores if len(image.starts) == len(scores) else np.maximum.reduceat(scores, image.starts)
    if population.passing is None:
        return best
    sample = _evenly(image.starts, SAMPLE_MEMORIES)
    passing = population.passing(sample)
    return best if len(passing) < _SAMPLE_MIN else best[np.searchsorted(image.starts, passing)]


def _compared(population: Population, vector: bytes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores and the cosines of a few passages."""
    image = population.image
    everything = np.arange(image.count) if population.among is None else population.among
    positions = _evenly(everything, COMPARED)
    ids = msgspec.json.encode(image.ids[positions].tolist()).decode()
    rows: list[tuple[Any, ...]] = image.connection.execute(_COSINES, (vector, ids)).fetchall()
    known = population.scores[positions[[key for key, _ in rows]]] if rows else np.empty(0)
    return known.astype(np.float64), np.array([cosine for _, cosine in rows], dtype=np.float64)


def _evenly(positions: Positions, count: int) -> Positions:
    """Return up to ``count`` of the positions, in even distances."""
    return positions[np.linspace(0, len(positions) - 1, min(count, len(positions))).astype(np.intp)]
