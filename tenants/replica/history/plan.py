"""Which files make a state: the choice alone, from what listings say. Pure.

Files may overlap; a file holds the newest content of each page that its transactions changed. So after one that ends with
transaction *n* any other that begins with *n* + 1 or before may follow, and the one that reaches furthest is the best: no other
choice needs fewer files.
"""

from __future__ import annotations

from collections.abc import Iterable

from tenants.replica.history.failures import BrokenHistory
from tenants.replica.tree import Entry


def choose(entries: Iterable[Entry], target: int, *, base: Entry | None = None) -> list[Entry]:
    """Return the files to apply, in this order, for the state after transaction ``target``.

    ``base``: a file that holds a whole database, to begin with; without, they begin with transaction 1. ``BrokenHistory`` names
    the first transaction that no file brings.
    """
    chosen = [] if base is None else [base]
    reached = 0 if base is None else base.max_txid
    usable = sorted((entry for entry in entries if entry.max_txid <= target), key=lambda entry: entry.min_txid)
    position = 0
    while reached < target:
        best: Entry | None = None
        while position < len(usable) and usable[position].min_txid <= reached + 1:
            if best is None or usable[position].max_txid > best.max_txid:
                best = usable[position]
            position += 1
        if best is None or best.max_txid <= reached:
            raise MissingTransaction(reached + 1)
        chosen.append(best)
        reached = best.max_txid
    return chosen


class MissingTransaction(BrokenHistory):
    """No file brings this transaction, and later ones are there."""

    def __init__(self, txid: int) -> None:
        super().__init__(f"transaction {txid} is missing")
        self.txid = txid
