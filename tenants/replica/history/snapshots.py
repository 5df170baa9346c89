"""Whole databases in the object store (level 9): where a restore begins, and up to where history may be given up."""

from __future__ import annotations

from pathlib import Path

from engine.ltx import Header
from tenants.replica.history.encoding import encoded, every_page, info_of
from tenants.replica.history.failures import BrokenHistory
from tenants.replica.history.rebuild import Rebuilt
from tenants.replica.layout import SNAPSHOTS
from tenants.replica.objects import ObjectExists
from tenants.replica.tree import Entry, Tree


def put_snapshot(tree: Tree, path: Path, rebuilt: Rebuilt, epoch: int, spool: Path) -> bool:
    """Store the database at ``path``, which ``rebuild`` put there; return whether there was none of that transaction yet.

    ``BrokenHistory`` if the file is not what was rebuilt: something has changed it since.
    """
    header = Header(
        page_size=rebuilt.page_bytes,
        commit=rebuilt.pages,
        min_txid=1,
        max_txid=rebuilt.txid,
        timestamp_ms=rebuilt.timestamp_ms,
        node_id=rebuilt.checksum,
    )
    runs = every_page(rebuilt.page_bytes, rebuilt.pages)
    with encoded(path, runs, header, spool, f"snapshot-{tree.tenant}-{rebuilt.txid:016x}") as snapshot:
        if snapshot.checksum != rebuilt.checksum:
            raise BrokenHistory("the file is no longer the database that was rebuilt")
        try:
            tree.put(SNAPSHOTS, 1, rebuilt.txid, snapshot.path, info_of(snapshot, header, epoch=epoch, whole=True))
        except ObjectExists:
            return False
    return True


def latest_snapshot(tree: Tree) -> Entry | None:
    """Return the newest snapshot, ``None`` if there is none. One listing."""
    newest = None
    for newest in tree.entries(SNAPSHOTS):  # noqa: B007
        pass
    return newest
