"""Merges files of a level into one of the level above: the newest content of each page, and nothing new.

What is merged is fixed by the transactions' numbers (``levels``), so two who merge at once make the same name; the first one's
file stays. Nothing is merged across a gap, and a step that is broken off leaves nothing that would have to be put right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from engine.ltx import Header, LtxError
from tenants.replica.history.chain import apply_in_order
from tenants.replica.history.encoding import encoded, info_of
from tenants.replica.history.failures import BrokenHistory
from tenants.replica.history.levels import span
from tenants.replica.history.pages import PageFile
from tenants.replica.history.reading import Damaged
from tenants.replica.layout import LEVELS
from tenants.replica.objects import ObjectExists
from tenants.replica.tree import Entry, Tree


def compact(tree: Tree, spool: Path, epoch: int) -> int:
    """Merge what is due in each level; return how many files were made. One caller a tenant at once.

    ``BrokenHistory`` if a file to be merged is damaged, after the others: what it would have been merged into is left out for
    good, since the next merge goes on behind it.
    """
    made, damage = 0, list[Damaged]()
    reached = _reached(tree)
    for level in LEVELS:
        for block in blocks(tree.entries(level - 1, after_txid=reached[level]), span(level)):
            try:
                made += _merge(tree, level, block, spool, epoch)
            except Damaged as error:
                damage.append(error)
    if damage:
        raise BrokenHistory(", ".join(map(str, damage)))
    return made


def blocks(entries: Iterable[Entry], transactions: int) -> Iterator[list[Entry]]:
    """Yield the files that make a file of so many transactions, wherever all of them are there. Pure."""
    block: list[Entry] = []
    for entry in entries:
        continues = block and entry.min_txid == block[-1].max_txid + 1
        if not continues:
            block = []
        if block or (entry.min_txid - 1) % transactions == 0:
            block.append(entry)
        if block and entry.max_txid == block[0].min_txid + transactions - 1:
            yield block
            block = []


def _reached(tree: Tree) -> dict[int, int]:
    """Return of each level up to which transaction there is nothing more to be done, asking from the top down."""
    reached, last = {}, 0
    for level in reversed(LEVELS):
        for entry in tree.entries(level, after_txid=last):
            last = max(last, entry.max_txid)
        reached[level] = last
    return reached


def _merge(tree: Tree, level: int, block: list[Entry], spool: Path, epoch: int) -> bool:
    """Put one merged file; return whether it was not there yet."""
    name = f"merge-{tree.tenant}-{level}-{block[0].min_txid:016x}"
    scratch = spool / f"{name}.pages"
    try:
        with PageFile(scratch) as pages:
            applied = apply_in_order(tree, pages, block)
            header = Header(
                page_size=pages.page_bytes,
                commit=pages.pages or applied.last.commit,  # where all are fences, there are no pages
                min_txid=block[0].min_txid,
                max_txid=block[-1].max_txid,
                timestamp_ms=applied.last.timestamp_ms,
                node_id=applied.last.node_id,
            )
            with encoded(scratch, pages.runs(), header, spool, f"{name}.ltx") as merged:
                info = info_of(merged, header, epoch=epoch, whole=applied.whole)
                tree.put(level, header.min_txid, header.max_txid, merged.path, info)
    except ObjectExists:
        return False
    except LtxError as error:
        raise Damaged(block[0], f"and those after it make no file: {error}") from error
    finally:
        scratch.unlink(missing_ok=True)
    return True
