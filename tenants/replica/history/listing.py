"""Finds a tenant's files in the store with few listings: those that make a state, and the newest of all.

A list request names at most a thousand files, and a busy tenant has millions in level 0. So the levels above are listed first,
and of each level below only what they leave open.
"""

from __future__ import annotations

from collections.abc import Container
from contextlib import suppress
from itertools import takewhile

from tenants.replica.history.levels import before_block
from tenants.replica.history.plan import MissingTransaction, choose
from tenants.replica.layout import INCREMENTS, LEVELS, SNAPSHOTS
from tenants.replica.tree import Entry, NotOurs, Tree

_LARGEST = 16
"""Files of level 0 that are asked whether they hold everything, where history is broken. One that does is among the largest."""


def newest_txid(tree: Tree) -> int:
    """Return the newest transaction in the store; 0 if there is none."""
    reached = 0
    for level in (*reversed(LEVELS), INCREMENTS):
        for entry in tree.entries(level, after_txid=reached):
            reached = max(reached, entry.max_txid)
    return reached


def files_to(tree: Tree, target: int, avoided: Container[Entry] = ()) -> list[Entry]:
    """Return the files that make the state after ``target``, in the order in which they are applied.

    ``avoided`` are known to be damaged or gone. ``BrokenHistory`` if there is no way without them.
    """
    snapshots = [each for each in tree.entries(SNAPSHOTS) if each.max_txid <= target and each not in avoided]
    base = snapshots[-1] if snapshots else None
    reached = base.max_txid if base else 0
    between = _between(tree, LEVELS[-1], reached + 1, target, avoided)
    try:
        return choose(between, target, base=base)
    except MissingTransaction as missing:
        whole = _newest_whole(tree, missing.txid + 1, target, avoided)
        if whole is None:
            raise
        return choose(_between(tree, LEVELS[-1], whole.max_txid + 1, target, avoided), target, base=whole)


def _between(tree: Tree, level: int, first: int, last: int, avoided: Container[Entry]) -> list[Entry]:
    """Return files of this level that bring transactions ``first`` to ``last``, and files of those below for what it lacks."""
    found: list[Entry] = []
    reached = first - 1
    if reached >= last:
        return found
    listed = tree.entries(level, after_txid=before_block(level, first))
    for entry in takewhile(lambda entry: entry.min_txid <= last, listed):
        if entry in avoided or not reached < entry.max_txid <= last:
            continue
        if level > INCREMENTS:
            found += _between(tree, level - 1, reached + 1, entry.min_txid - 1, avoided)
        found.append(entry)
        reached = entry.max_txid
    if level > INCREMENTS:
        found += _between(tree, level - 1, reached + 1, last, avoided)
    return found


def _newest_whole(tree: Tree, first: int, last: int, avoided: Container[Entry]) -> Entry | None:
    """Return the newest file of level 0 among these transactions that holds the whole database: with it history begins anew."""
    listed = takewhile(lambda entry: entry.max_txid <= last, tree.entries(INCREMENTS, after_txid=first - 1))
    largest = sorted((each for each in listed if each not in avoided), key=lambda each: each.size)[-_LARGEST:]
    for entry in sorted(largest, reverse=True):
        with suppress(NotOurs):
            info = tree.info(INCREMENTS, entry.min_txid, entry.max_txid)
            if info is not None and info.whole:
                return entry
    return None
