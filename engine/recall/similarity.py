"""Which passages are probably alike, judged by their vectors' signs: all pairs by matrix products, block by block.

Two vectors at an angle θ differ in sign in a share θ/π of their dimensions, give or take what chance does to so many of them
(Charikar 2002, "Similarity estimation techniques from rounding algorithms"). So signs propose, and whoever has the vectors
decides. It must not know where the signs come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PROPOSED_MAX = 4
"""Proposals for one passage. k that all say the same are so a few k of pairs, not k²/2."""

_DEVIATIONS = 3.0
"""How far below what is to be expected of alike vectors a proposal may agree: one in 700 lies below that."""


class Passage(NamedTuple):
    """One passage, and what decides whom it may be compared with."""

    id: int
    memory_id: int
    group: int
    """Only memories of one group are compared."""
    text: int
    """Memories of the same text are not: that they are alike is known."""
    signs: bytes
    """A bit for each dimension, lowest first."""


class Proposal(NamedTuple):
    """Two passages of two memories, and the share of signs in which they agree less the share in which they differ."""

    older: int
    """The lower id of the two."""
    newer: int
    agreement: float


@dataclass(frozen=True)
class _Block:
    ids: NDArray[np.int64]
    memory_ids: NDArray[np.int64]
    groups: NDArray[np.int64]
    texts: NDArray[np.int64]
    signs: NDArray[np.float32]

    @classmethod
    def of(cls, passages: Sequence[Passage], dimensions: int) -> _Block:
        ids, memory_ids, groups, texts, codes = zip(*passages, strict=True)
        packed = np.frombuffer(b"".join(codes), dtype=np.uint8).reshape(len(codes), -1)
        bits = np.unpackbits(packed, axis=1, count=dimensions, bitorder="little")
        return cls(
            ids=np.array(ids, dtype=np.int64),
            memory_ids=np.array(memory_ids, dtype=np.int64),
            groups=np.array(groups, dtype=np.int64),
            texts=np.array(texts, dtype=np.int64),
            signs=bits.astype(np.float32) * 2 - 1,
        )


def propose(examined: Sequence[Passage], others: Iterable[Sequence[Passage]], dimensions: int, cosine: float) -> list[Proposal]:
    """Return for each examined passage the older ones whose vectors may have this cosine with its own, or a higher one.

    ``others`` come in blocks and may hold the examined themselves. The most agreeing come first.
    """
    if not examined:
        return []
    ours = _Block.of(examined, dimensions)
    least = least_agreement(cosine, dimensions) * dimensions
    best = np.full((len(examined), PROPOSED_MAX), -np.inf, dtype=np.float32)
    partners = np.zeros((len(examined), PROPOSED_MAX), dtype=np.int64)
    for passages in others:
        theirs = _Block.of(passages, dimensions)
        agreement = ours.signs @ theirs.signs.T
        rows = np.flatnonzero(agreement.max(axis=1) >= least)  # few: what follows costs more than the product
        agreement = np.where(_comparable(ours, rows, theirs), agreement[rows], -np.inf)
        together = np.concatenate((best[rows], agreement), axis=1)
        ids = np.concatenate((partners[rows], np.broadcast_to(theirs.ids, agreement.shape)), axis=1)
        top = np.argpartition(together, -PROPOSED_MAX, axis=1)[:, -PROPOSED_MAX:]
        best[rows], partners[rows] = np.take_along_axis(together, top, 1), np.take_along_axis(ids, top, 1)
    rows, columns = np.nonzero(best >= least)
    agreements = best[rows, columns] / dimensions
    found = zip(partners[rows, columns].tolist(), ours.ids[rows].tolist(), agreements.tolist(), strict=True)
    return sorted((Proposal(*values) for values in found), key=lambda one: (-one.agreement, -one.newer, -one.older))


def _comparable(ours: _Block, rows: NDArray[np.intp], theirs: _Block) -> NDArray[np.bool]:
    comparable: NDArray[np.bool] = (
        (ours.ids[rows, None] > theirs.ids)
        & (ours.memory_ids[rows, None] != theirs.memory_ids)
        & (ours.groups[rows, None] == theirs.groups)
        & (ours.texts[rows, None] != theirs.texts)
    )
    return comparable


def least_agreement(cosine: float, dimensions: int) -> float:
    """Return the agreement that hardly any two vectors of this cosine, or a higher one, fall short of."""
    differing = math.acos(max(-1.0, min(1.0, cosine))) / math.pi
    deviation = math.sqrt(differing * (1 - differing) / dimensions)
    return 1 - 2 * (differing + _DEVIATIONS * deviation) - 1 / dimensions
