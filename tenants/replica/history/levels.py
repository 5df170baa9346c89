"""How many transactions a merged file of each level holds, and which: fixed by their numbers alone. Pure.

A file of level 1 holds 64 files of level 0, so transactions 1 to 64, 65 to 128 and so on; each level above holds 16 of the
one below. Whoever merges, whenever, makes files of the same names: two who do it at once collide instead of disagreeing. It is
done by count and not by time, so who writes little has nothing merged.
"""

from __future__ import annotations

from tenants.replica.layout import INCREMENTS, LEVELS

_MERGED = {1: 64, 2: 16, 3: 16}
"""How many files of the level below make one. A restore then reads some 63 + 15 + 15 small files beside the few large ones,
and each byte is written at most three times more."""


def span(level: int) -> int:
    """Return how many transactions a file of ``level`` holds."""
    transactions = 1
    for each in LEVELS[:level] if level else ():
        transactions *= _MERGED[each]
    return transactions


def before_block(level: int, txid: int) -> int:
    """Return the last transaction before the file of ``level`` that holds, or would hold, ``txid``."""
    return (txid - 1) // span(level) * span(level) if txid else 0


def is_due(before: int, now: int) -> bool:
    """Whether there is something to merge when the newest transaction is ``now`` and was ``before`` at the last time."""
    return now // span(INCREMENTS + 1) > before // span(INCREMENTS + 1)
