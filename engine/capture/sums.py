"""The two sums with which SQLite's log and ``cksumvfs`` protect what they hold, over many pieces at once. No I/O.

Eight bytes, read as two words a and b, take (s, t) to (s + a + t, s + a + 2t + b) modulo 2^32. That is linear: what a piece of
so many words adds is one product of its words with weights that depend on their number only, and what it makes of the sums
before it is another. Source: https://www.sqlite.org/fileformat2.html, section 4.2, and ``ext/misc/cksumvfs.c``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

_MASK = 2**32 - 1


@dataclass(frozen=True)
class Weights:
    """What the words of a piece add to its two sums, by their place."""

    first: Words
    second: Words
    carry: Words
    """What the piece does to the sums before it: a row of these times this matrix."""

    def sums(self, words: Words) -> Words:
        """Return the two sums of each row of ``words``, as rows. Unsigned products and sums wrap at the modulus."""
        found = np.empty((len(words), 2), np.uint32)
        # Two passes of this are twice as fast as one product with both, which NumPy does number by number.
        found[:, 0] = np.einsum("ij,j->i", words, self.first)
        found[:, 1] = np.einsum("ij,j->i", words, self.second)
        return found

    def continued(self, words: Words, before: Words) -> Words:
        """Return the same, for rows before which the sums were not zero but ``before``."""
        found = self.sums(words)
        found += before @ self.carry
        return found

    def spread(self, places: Sequence[int], words: int) -> Weights:
        """Return the weights for pieces of more ``words``, of which only those in these ``places`` count."""
        factors = np.zeros((2, words), np.uint32)
        factors[0, places], factors[1, places] = self.first, self.second
        return Weights(factors[0], factors[1], self.carry)


@functools.cache
def weights(words: int) -> Weights:
    """Return the weights for a piece of so many words, an even number."""
    factors = np.zeros((2, words), np.uint32)
    # From the last pair to the first: (p, q) and (u, v) are the rows of the matrix that the pairs after this one apply.
    p, q, u, v = 1, 0, 0, 1
    for pair in range(words - 2, -1, -2):
        factors[:, pair] = (p + q) & _MASK, (u + v) & _MASK
        factors[:, pair + 1] = q, v
        p, q, u, v = (p + q) & _MASK, (p + 2 * q) & _MASK, (u + v) & _MASK, (u + 2 * v) & _MASK
    return Weights(factors[0], factors[1], np.array([[p, u], [q, v]], np.uint32))
