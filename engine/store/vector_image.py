"""All codes of the vectors that are searched, in memory: what a search scans instead of the vectors themselves.

Nothing is read before the first search by meaning. Before each search the image reads on from the last passage it knows:
passages are never changed, and their ids never used again. One that was deleted stays in the image, and whoever takes
passages from it looks whether they are still there; when too many are gone, the image is read anew. A passage takes 16 bytes
and its code: 64 bytes at 384 dimensions.
"""

from __future__ import annotations

import apsw
import numpy as np
from numpy.typing import NDArray

from engine.store import vector_code
from engine.store.embedding_models import EmbeddingModel
from engine.store.vector_code import Codes, QueryMasks, Scores

BLOCK_PASSAGES = 16_384
"""Scanned at a time: what the scan works in takes 0.3 MB and stays in the processor's second-level cache."""

GAPS_SHARE_MAX = 8
"""The image is read anew when one in so many of its passages is gone: until then a search is slower by that much at most."""

_GAPS_MIN = 256

# One row for many passages: making a Python object of each number would take as long again as reading them.
_CODES = """
    SELECT group_concat(id), group_concat(memory_id), group_concat(hex(code), '')
    FROM (SELECT id, memory_id, code FROM passage_codes WHERE id > ? AND +model_id = ? ORDER BY id LIMIT ?)
"""

Ids = NDArray[np.int64]
Positions = NDArray[np.intp]


class VectorImage:
    """The codes of one database's active model. A passage's position in it is its rank by age."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self._model: EmbeddingModel | None = None
        self._clear()

    def _clear(self) -> None:
        self._blocks: list[Codes] = []
        self._ids: Ids = np.empty(0, dtype=np.int64)  # of passages and of their memories, in rows; longer than what they hold
        self._memory_ids: Ids = np.empty(0, dtype=np.int64)
        self._starts: Positions | None = None
        self._committed = 0
        self.count = 0

    @property
    def ids(self) -> Ids:
        """The passages' ids, ascending."""
        return self._ids[: self.count]

    @property
    def memory_ids(self) -> Ids:
        """The memory of each passage. A memory's passages stand together."""
        return self._memory_ids[: self.count]

    @property
    def starts(self) -> Positions:
        """Where each memory's passages start."""
        if self._starts is None:
            self._starts = runs(self.memory_ids)
        return self._starts

    def synchronise(self, model: EmbeddingModel) -> None:
        """Bring the image to what the connection sees now."""
        # What was read within a transaction may have been rolled back, and its ids given to others.
        self._truncate(self._committed)
        known = self._model
        gaps = 0 if known is None else abs(model.passages_deleted - known.passages_deleted)
        if known is None or known.id != model.id or gaps > max(_GAPS_MIN, self.count // GAPS_SHARE_MAX):
            self._clear()
            self._model = model
        while self._read_on(model):
            pass
        if not self.connection.in_transaction:
            self._committed = self.count

    def scores(self, query: QueryMasks) -> Scores:
        """Return the score of every passage for a query."""
        scores = np.empty(self.count, dtype=np.int16)
        for number, block in enumerate(self._blocks):
            part = scores[number * BLOCK_PASSAGES : (number + 1) * BLOCK_PASSAGES]
            query.score(block[:, : len(part)], part)
        return scores

    def _truncate(self, count: int) -> None:
        if count < self.count:
            self.count = count
            self._starts = None
            del self._blocks[-(-count // BLOCK_PASSAGES) :]

    def _read_on(self, model: EmbeddingModel) -> bool:
        """Read the next passages; whether there were any."""
        last = int(self._ids[self.count - 1]) if self.count else 0
        ids, memory_ids, codes = self.connection.execute(_CODES, (last, model.id, BLOCK_PASSAGES)).get
        if ids is None:
            return False
        self._append(_numbers(ids), _numbers(memory_ids), vector_code.columns(bytes.fromhex(codes), model.dimensions))
        return True

    def _append(self, ids: Ids, memory_ids: Ids, codes: Codes) -> None:
        total = self.count + len(ids)
        self._grow(total)
        self._ids[self.count : total] = ids
        self._memory_ids[self.count : total] = memory_ids
        while self.count < total:
            offset = self.count % BLOCK_PASSAGES
            if offset == 0:
                self._blocks.append(np.empty((len(codes), BLOCK_PASSAGES), dtype=np.uint64))
            part = codes[:, : BLOCK_PASSAGES - offset]
            self._blocks[-1][:, offset : offset + part.shape[1]] = part
            self.count += part.shape[1]
            codes = codes[:, part.shape[1] :]
        self._starts = None

    def _grow(self, count: int) -> None:
        if count > len(self._ids):
            # Half as much again, so that growing costs little in all; pages nobody wrote to take no memory.
            larger = [np.empty(count + count // 2, dtype=np.int64) for _ in range(2)]
            larger[0][: self.count] = self.ids
            larger[1][: self.count] = self.memory_ids
            self._ids, self._memory_ids = larger


def _numbers(text: str) -> Ids:
    return np.fromstring(text, dtype=np.int64, sep=",")


def runs(memory_ids: Ids) -> Positions:
    """Return where each stretch of equal numbers starts."""
    return np.flatnonzero(np.diff(memory_ids, prepend=-1))


def best_first(scores: Scores, depth: int) -> Positions:
    """Return the positions of the ``depth`` highest scores or more, best first, the newest first among equals.

    What a deeper call returns begins with what a shallower one does.
    """
    lowest = int(scores.min(initial=0))
    if depth < len(scores):
        # How many have at least each score, highest score first: the threshold needs no sorting of them all.
        at_least = np.cumsum(np.bincount(scores.astype(np.intp) - lowest)[::-1])
        threshold = lowest + len(at_least) - 1 - int(np.searchsorted(at_least, depth))
        positions = np.flatnonzero(scores >= threshold)
    else:
        positions = np.arange(len(scores))
    return positions[np.lexsort((-positions, -scores[positions].astype(np.intp)))]
