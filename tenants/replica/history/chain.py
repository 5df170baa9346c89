"""Applies files one after the other to a database that is put together, each only if it is what it should be at its place."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from engine.ltx import Header, LtxError
from tenants.replica.history.pages import PageFile
from tenants.replica.history.reading import Damaged, Reading, read_in_order
from tenants.replica.layout import INCREMENTS
from tenants.replica.tree import Entry, Tree


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What several files have led to."""

    last: Header
    """Of the last one, with the time that the store says."""
    whole: bool
    """Whether one of them held the whole database, so that nothing before them is needed."""


def apply_in_order(tree: Tree, pages: PageFile, entries: Sequence[Entry]) -> Applied:
    """Read these files and apply them; ``Damaged`` names the first that is not what name, metadata and chain say."""
    header: Header | None = None
    before: Reading | None = None
    whole = False
    with closing(read_in_order(tree, entries)) as readings:
        for reading in readings:
            header = _apply(pages, reading, before)
            whole = whole or reading.info.whole
            before = reading
    assert header is not None
    return Applied(last=header, whole=whole)


def _apply(pages: PageFile, reading: Reading, before: Reading | None) -> Header:
    entry, info = reading.entry, reading.info
    try:
        header = pages.apply(reading.pieces)
    except LtxError as error:
        raise Damaged(entry, f"is no whole LTX file: {error}") from error
    if (header.min_txid, header.max_txid) != (entry.min_txid, entry.max_txid):
        raise Damaged(entry, "holds other transactions than its name says")
    if (header.node_id, header.commit) != (info.checksum, info.pages):
        raise Damaged(entry, "has another file's metadata")
    if entry.level != INCREMENTS and header.timestamp_ms != info.timestamp_ms:
        raise Damaged(entry, "has another file's metadata")
    if before is not None and _are_neighbours(before.entry, entry) and info.previous != before.info.batch:
        raise Damaged(entry, "does not continue the file before it")
    # The time within a file of level 0 is what the engine's clock said; the one beside it is made to ascend.
    return replace(header, timestamp_ms=info.timestamp_ms)


def _are_neighbours(one: Entry, other: Entry) -> bool:
    return one.level == other.level == INCREMENTS and one.max_txid + 1 == other.min_txid
