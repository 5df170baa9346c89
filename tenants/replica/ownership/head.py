"""The last transaction of a tenant's in the object store, found with few requests.

Level 0 alone says what it is, and a busy tenant has millions of files there. So the files above are looked at first: each level
says from where the next one down need be listed.
"""

from __future__ import annotations

from dataclasses import dataclass

from tenants.replica.layout import INCREMENTS, LEVELS, SNAPSHOTS
from tenants.replica.objects import StoreUnavailable
from tenants.replica.tree import Entry, FileInfo, Tree


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The newest transaction in the store, 0 when there is none, and what is known of the file that ends with it."""

    txid: int
    info: FileInfo | None = None
    entry: Entry | None = None
    """That file: of level 0, unless only a merged one is left of its time."""


NONE = Head(txid=0)


def find_head(tree: Tree, hint: int = 0) -> Head:
    """Return where a tenant's history ends.

    ``hint``: a transaction believed to be among the last, or the next one. Two requests where it is (a LIST and a HEAD) and one
    more for each further thousand transactions; six where nothing is known: level 0 behind the last merged file then has few
    more files than one of level 1 merges, unless merging is behind.
    """
    last = _last(tree, INCREMENTS, max(0, hint - 2)) if hint > 0 else None
    if last is None:
        for level in (SNAPSHOTS, *reversed(LEVELS), INCREMENTS):
            found = _last(tree, level, 0 if level == SNAPSHOTS or last is None else last.max_txid)
            # Snapshots may be of an older state than merged files, and a merged file of another level may reach as far.
            last = found if last is None or (found is not None and found.max_txid > last.max_txid) else last
    if last is None:
        return NONE
    if last.level != INCREMENTS:  # nothing in level 0 is newer; it has this transaction itself, as long as it is kept
        info = tree.info(INCREMENTS, last.max_txid, last.max_txid)
        if info is not None:
            entry = Entry(min_txid=last.max_txid, max_txid=last.max_txid, level=INCREMENTS, size=0)
            return Head(txid=last.max_txid, info=info, entry=entry)
    info = tree.info(last.level, last.min_txid, last.max_txid)
    if info is None:  # it was listed a moment ago: merged and removed meanwhile
        raise StoreUnavailable("a listed object is not there")
    return Head(txid=last.max_txid, info=info, entry=last)


def _last(tree: Tree, level: int, after_txid: int) -> Entry | None:
    return max(tree.entries(level, after_txid=after_txid), key=lambda entry: entry.max_txid, default=None)
