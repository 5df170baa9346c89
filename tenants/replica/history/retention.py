"""Gives up what is older than a plan looks back: up to the newest snapshot that lets every later moment be restored.

Only a snapshot is built upon, since any reader of the format can begin with one. Its transaction's own file in level 0 stays,
because that says when it was. What is removed comes in an order in which each step leaves a history that says truly how far
back it goes: first the older snapshots, then what only they needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice, takewhile

from tenants.replica.history.timeline import moment_of
from tenants.replica.layout import INCREMENTS, LEVELS, SNAPSHOTS
from tenants.replica.objects import LIST_PAGE
from tenants.replica.tree import Entry, Tree


def expire(tree: Tree, before_ms: int) -> int:
    """Remove what no restore to ``before_ms`` (milliseconds since 1970) or later needs; return how many files that were."""
    snapshots = list(tree.entries(SNAPSHOTS))
    base = _newest_before(tree, snapshots, before_ms)
    if base is None:
        return 0
    until = snapshots[base].max_txid
    removed = _remove(tree, snapshots[:base])
    increments = takewhile(lambda entry: entry.max_txid < until, tree.entries(INCREMENTS))
    # The very first file says that history goes back to the beginning, so it goes before the others.
    removed += _remove(tree, islice(increments, 1))
    removed += _remove(tree, increments)
    for level in LEVELS:
        removed += _remove(tree, takewhile(lambda entry: entry.max_txid <= until, tree.entries(level)))
    return removed


def _newest_before(tree: Tree, snapshots: Sequence[Entry], before_ms: int) -> int | None:
    """Return the index of the newest snapshot that was captured at ``before_ms`` or before.

    One of which that can't be told counts as too new: then more is kept than need be.
    """
    low, high = 0, len(snapshots)
    while low < high:
        middle = (low + high) // 2
        captured = moment_of(tree, snapshots[middle])
        if captured is not None and captured.at_ms <= before_ms:
            low = middle + 1
        else:
            high = middle
    return low - 1 if low else None


def _remove(tree: Tree, entries: Iterable[Entry]) -> int:
    removed, remaining = 0, iter(entries)
    while batch := list(islice(remaining, LIST_PAGE)):
        tree.delete(batch)
        removed += len(batch)
    return removed
