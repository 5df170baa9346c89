"""When a tenant's states were captured, found with few requests.

Level 0 has one file for each transaction, and their times grow strictly with their numbers. So the last one before a moment is
found by halving: 23 questions among a month of three files a second, and no listing of them.
"""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

from tenants.replica.history.failures import BrokenHistory, NothingToRestore
from tenants.replica.history.listing import newest_txid
from tenants.replica.layout import INCREMENTS, SNAPSHOTS
from tenants.replica.tree import Entry, NotOurs, Tree

__all__ = ["Moment", "earliest", "earliest_ms", "locate", "moment_of", "newest_txid"]

_LOOKS_MAX = 3
"""At which state is the first. Retention may take it away between the listing and the question when it was."""


class Moment(NamedTuple):
    """A state, and when it was captured."""

    txid: int
    at_ms: int


def locate(tree: Tree, at_ms: int) -> int:
    """Return the last transaction that was captured at ``at_ms`` (milliseconds since 1970) or before: ``NothingToRestore``."""
    first = earliest(tree)
    if first is None or first.at_ms > at_ms:
        raise NothingToRestore(None if first is None else first.at_ms)
    low, high = first.txid, newest_txid(tree)
    # The newest state is what most ask for.
    newest = _at_or_after(tree, high)
    if newest is not None and newest.at_ms <= at_ms:
        return newest.txid
    while low < high:
        # ``low`` is there and early enough; whatever is there above ``high`` is too late.
        middle = (low + high + 1) // 2
        found = _at_or_after(tree, middle)
        if found is not None and found.at_ms <= at_ms:
            low = found.txid
        else:
            high = middle - 1
    return low


def earliest_ms(tree: Tree) -> int | None:
    """Return the first moment that can be restored; ``None`` when nothing was stored."""
    first = earliest(tree)
    return None if first is None else first.at_ms


def earliest(tree: Tree) -> Moment | None:
    """Return the first state that can be restored: the very first, or where that was given up, the oldest snapshot's."""
    for _ in range(_LOOKS_MAX):
        first = next(tree.entries(INCREMENTS), None)
        if first is None or first.min_txid != 1:
            first = next(tree.entries(SNAPSHOTS), None)
        if first is None:
            return None
        moment = moment_of(tree, first)
        if moment is not None:
            return moment
    raise BrokenHistory("nobody can tell when the first state was captured that is kept")


def _at_or_after(tree: Tree, txid: int) -> Moment | None:
    """Return the transaction's moment; where its file is gone or damaged, that of the next one that is not."""
    asked = Entry(min_txid=txid, max_txid=txid, level=INCREMENTS, size=0)
    following = (moment_of(tree, entry) for entry in chain([asked], tree.entries(INCREMENTS, after_txid=txid)))
    return next((moment for moment in following if moment is not None), None)


def moment_of(tree: Tree, entry: Entry) -> Moment | None:
    """Return when a file's last transaction was captured; ``None`` where it is gone, or what is known of it is damaged."""
    try:
        info = tree.info(entry.level, entry.min_txid, entry.max_txid)
    except NotOurs:
        return None
    return None if info is None else Moment(entry.max_txid, info.timestamp_ms)
