"""The hash chain of a tenant's history: each file of level 0 names the one before it. A drill looks at a piece of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from random import Random

from tenants.replica.layout import INCREMENTS
from tenants.replica.tree import Entry, FileInfo, Tree

LINKS_MAX = 1000
"""Files that are asked about in one drill: one HEAD each. A tenant that writes without pause makes 250,000 a day."""

_LISTED_MAX = 100_000
"""Files that are listed for it: a hundred requests."""

_AT_ONCE = 4


class BrokenChain(Exception):
    """A file is missing, or does not name the one before it. The message says which."""


def check_links(tree: Tree, *, after_txid: int, until_txid: int, random: Random) -> int:
    """Look at the files behind ``after_txid``, or, where they are many, at some that follow each other; return how many.

    ``BrokenChain`` for what is wrong with them; ``NotOurs`` for a file with strange metadata.
    """
    behind = (entry for entry in tree.entries(INCREMENTS, after_txid=after_txid) if entry.max_txid <= until_txid)
    entries = _some(list(islice(behind, _LISTED_MAX)), random)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="links") as threads:
        infos = list(threads.map(lambda entry: tree.info(INCREMENTS, entry.min_txid, entry.max_txid), entries))
    for (before, before_info), (entry, info) in pairwise(zip(entries, infos, strict=True)):
        _check(before, before_info, entry, info)
    return len(entries)


def _some(entries: list[Entry], random: Random) -> list[Entry]:
    first = random.randrange(len(entries) - LINKS_MAX + 1) if len(entries) > LINKS_MAX else 0
    return entries[first : first + LINKS_MAX]


def _check(before: Entry, before_info: FileInfo | None, entry: Entry, info: FileInfo | None) -> None:
    if entry.min_txid != before.max_txid + 1:
        raise BrokenChain(f"transaction {before.max_txid + 1} is missing")
    if before_info is None or info is None:
        raise BrokenChain(f"transaction {before.max_txid if before_info is None else entry.min_txid} is listed and not there")
    if info.previous != before_info.batch:
        raise BrokenChain(f"transaction {entry.min_txid} follows on another file than the one before it")
    if info.timestamp_ms <= before_info.timestamp_ms:
        raise BrokenChain(f"transaction {entry.min_txid} is not later than the one before it")
