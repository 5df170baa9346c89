"""Puts a database together as it was after a transaction, or at a moment, from the object store alone.

Believed is nothing: each file must be the one that was put there and continue the one before it, and in the end the whole
database's checksum must be the one that the engine wrote into the last file. What is damaged or gone is gone around where other
files say the same: a merged file's pages are in those it was made of, and a snapshot's too while these are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tenants.replica.history import timeline
from tenants.replica.history.chain import apply_in_order
from tenants.replica.history.failures import BrokenHistory, NothingToRestore
from tenants.replica.history.listing import files_to
from tenants.replica.history.pages import DATABASE_BYTES_MAX, PageFile
from tenants.replica.history.reading import Damaged, name_of
from tenants.replica.tree import Entry, Tree

__all__ = ["BrokenHistory", "NothingToRestore", "Rebuilt", "rebuild"]

_DETOURS_MAX = 8
"""Damaged files that are gone around. Each costs another beginning, and where so many are damaged, so are more."""


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """A database in a file, as it was after a transaction."""

    txid: int
    timestamp_ms: int
    """When that was captured."""
    page_bytes: int
    pages: int
    checksum: int
    """Of the database (``engine.ltx.database_checksum``)."""
    avoided: tuple[str, ...] = ()
    """Of files that were damaged and could be done without: which, and why. Somebody should know."""


def rebuild(
    tree: Tree,
    path: Path,
    *,
    at_ms: int | None = None,
    txid: int | None = None,
    database_bytes_max: int = DATABASE_BYTES_MAX,
) -> Rebuilt:
    """Write the database to ``path`` as it was at a moment, after a transaction, or by default as it is in the store now.

    ``NothingToRestore`` if there is nothing as old, ``BrokenHistory`` if the files don't make it, ``StoreUnavailable`` while
    the store can't be read. Then there is no file at ``path``, even where there was one before.
    """
    path.unlink(missing_ok=True)
    unusable: list[Damaged] = []
    while True:
        target = _target(tree, at_ms, txid)
        files = _files_to(tree, target, unusable)
        try:
            rebuilt = _write(tree, path, files, database_bytes_max)
        except Damaged as damaged:
            # Retention removed what was listed, or a bit has flipped. The next listing tells what else there is.
            unusable.append(damaged)
            if len(unusable) > _DETOURS_MAX:
                raise BrokenHistory(str(damaged)) from damaged
        else:
            return replace(rebuilt, avoided=tuple(str(each) for each in unusable if not each.is_gone))


def _files_to(tree: Tree, target: int, unusable: Sequence[Damaged]) -> list[Entry]:
    try:
        return files_to(tree, target, [each.entry for each in unusable])
    except BrokenHistory as error:
        earliest = timeline.earliest(tree)
        if earliest is None or target < earliest.txid:
            raise NothingToRestore(None if earliest is None else earliest.at_ms) from error
        if not unusable:
            raise
        raise BrokenHistory(f"{error}: {', '.join(map(str, unusable))}") from error


def _target(tree: Tree, at_ms: int | None, txid: int | None) -> int:
    if txid is not None:
        if txid < 1:
            raise NothingToRestore(timeline.earliest_ms(tree))
        return txid
    if at_ms is not None:
        return timeline.locate(tree, at_ms)
    newest = timeline.newest_txid(tree)
    if not newest:
        raise NothingToRestore(None)
    return newest


def _write(tree: Tree, path: Path, files: Sequence[Entry], database_bytes_max: int) -> Rebuilt:
    try:
        with PageFile(path, database_bytes_max=database_bytes_max) as pages:
            last = apply_in_order(tree, pages, files).last
            if not pages.is_whole:
                raise BrokenHistory("some pages of the database are in none of its files")
            if (pages.checksum, pages.pages) != (last.node_id, last.commit):
                raise BrokenHistory(f"the database is not the one that {name_of(files[-1])} leads to")
            pages.sync()
            return Rebuilt(
                txid=last.max_txid,
                timestamp_ms=last.timestamp_ms,
                page_bytes=pages.page_bytes,
                pages=pages.pages,
                checksum=pages.checksum,
            )
    except BaseException:
        path.unlink(missing_ok=True)
        raise
