"""The code of a vector: one bit per dimension, and how well a query fits it. Pure arithmetic on arrays.

A code keeps the sign of each number and nothing else. The query keeps more, four bits a dimension: a code's score is the sum
of the query's whole numbers where the code's bit is set. Up to a factor and a constant that is the query's dot product with
the vector of signs, which goes along with the cosine (Gao and Long, "RaBitQ", 2024, have the theory; their rotation and their
factor per vector were measured on MiniLM and gain nothing). A number's four bits are four masks over the code, so that
a score is made of AND, population counts and shifts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.protocol.errors import invalid

FLOAT_BYTES = 4
_WORD_BYTES = 8
_BYTE_BITS = 8

_QUERY_BITS = 4
_QUERY_MAX = 2 ** (_QUERY_BITS - 1) - 1

DIMENSIONS_MAX = 4096
"""A score has to fit 16 bits: 4,096 times −8 just does. No embedding model in use has more."""

Codes = NDArray[np.uint64]
"""Codes as columns of 64-bit words, ``codes[word, position]``: a scan reads each word of many codes in a row."""

Scores = NDArray[np.int16]


def check(vector: bytes, dimensions: int) -> None:
    """``invalid`` for what is no vector of so many float32 numbers, or of more than a score can hold."""
    if not vector or len(vector) != dimensions * FLOAT_BYTES or dimensions > DIMENSIONS_MAX:
        raise invalid("embeddings", f"a vector must have {min(dimensions, DIMENSIONS_MAX)} float32 values")


def encode(vector: bytes) -> bytes:
    """Return the code of a float32 vector, lowest bit first; what is left of the last byte is zero."""
    return _packed(np.frombuffer(vector, dtype="<f4") > 0)


def words(dimensions: int) -> int:
    """Return how many words a code of so many dimensions fills."""
    return -(-dimensions // (_WORD_BYTES * _BYTE_BITS))


def columns(codes: bytes, dimensions: int) -> Codes:
    """Return codes that follow one another as columns, filled up with zeros; ``ValueError`` when they are no whole number."""
    rows = np.frombuffer(codes, dtype=np.uint8).reshape(-1, -(-dimensions // _BYTE_BITS))
    padded = np.zeros((len(rows), words(dimensions) * _WORD_BYTES), dtype=np.uint8)
    padded[:, : rows.shape[1]] = rows
    return padded.view("<u8").T


class QueryMasks:
    """A query's numbers, rounded to −7 … 7 of the largest among them, as masks over codes. Made for one query."""

    def __init__(self, vector: bytes) -> None:
        numbers = np.frombuffer(vector, dtype="<f4")
        largest = float(np.abs(numbers).max())
        scale = _QUERY_MAX / largest if largest > 0 else 0.0
        rounded = np.rint(numbers * scale).astype(np.int8)
        bits = [_packed(rounded >> bit & 1) for bit in reversed(range(_QUERY_BITS))]
        self._masks = columns(b"".join(bits), len(numbers))

    def score(self, codes: Codes, scores: Scores) -> None:
        """Write the score of each of ``codes`` to ``scores``. Fast as long as both stay in the processor's cache."""
        masked = np.empty(codes.shape[1], dtype=np.uint64)
        counts = np.empty(codes.shape[1], dtype=np.uint8)
        scores[:] = 0
        for bit in range(_QUERY_BITS):
            # Two's complement: the highest bit counts negatively, and each step down doubles what is there.
            combine = np.add if bit else np.subtract
            np.add(scores, scores, out=scores)
            for word, mask in zip(codes, self._masks[:, bit], strict=True):
                np.bitwise_count(np.bitwise_and(word, mask, out=masked), out=counts)
                combine(scores, counts, out=scores)


def _packed(bits: NDArray[np.bool] | NDArray[np.int8]) -> bytes:
    return np.packbits(bits, bitorder="little").tobytes()
