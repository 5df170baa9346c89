"""Proves a tenant's backup by restoring it: from the store alone, as it is now and as it was at a random second.

Each restored database must be the one whose checksum its owner wrote down, and pass the checks that an engine's has to pass, in
a process that confines itself. What came of it lies beside the history, as ``verified.json``, so that it outlives this disk. Of
the two restored databases one is on the disk at a time. Blocking, for as long as a restore takes.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import msgspec

from engine.catalogue.lifecycle import CheckReport
from engine.catalogue.recovery import STAGED_DATABASE
from tenants.replica import layout
from tenants.replica.history import timeline
from tenants.replica.history.rebuild import BrokenHistory, NothingToRestore, Rebuilt, rebuild
from tenants.replica.maintenance.links import BrokenChain, check_links
from tenants.replica.maintenance.sandboxed_check import CouldNotCheck, check_folder
from tenants.replica.objects import ObjectMissing
from tenants.replica.tree import NotOurs, Tree

_VERIFIED_BYTES_MAX = 16 * 1024
_ERROR_MAX = 500
"""Characters of what is said of a failure. Some come from the process that opened the database: they are shown as ASCII."""


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What ``verified.json`` holds: the last drill. Times are milliseconds since 1970."""

    verified_at: int
    """When this was last found whole; 0 for never."""
    tried_at: int
    txid: int
    """The newest transaction then: history up to it need not be looked at again."""
    random_at: int = 0
    """The other moment that was restored."""
    error: str = ""
    """Why the last drill failed; empty if it did not."""


@dataclass(frozen=True, kw_only=True)
class DrillReport:
    """What a drill has found."""

    verified: Verified
    links: int = 0
    """Files of the chain that were looked at."""
    avoided: tuple[str, ...] = ()
    """Files that were damaged and could be done without."""

    @property
    def error(self) -> str:
        """Why it failed; empty if it did not."""
        return self.verified.error


Whole = Callable[[Path, Rebuilt], None]
"""Takes the restored newest state, which is gone when it returns."""


def drill(
    tree: Tree,
    staging_folder: Path,
    *,
    random: Random,
    retention_s: int | None = None,
    wall: Callable[[], float] = time.time,
    check: Callable[[Path], CheckReport] = check_folder,
    use: Whole = lambda _path, _rebuilt: None,
) -> DrillReport:
    """Restore and check; what can't be restored or is not sound is the report's ``error``. ``StoreUnavailable``, disk errors.

    ``staging_folder`` is ours alone. ``retention_s``: no moment longer ago is tried. ``use`` is given the newest state once it
    was found sound, for a snapshot: one download for both.
    """
    before = read_verified(tree)
    now_ms = int(wall() * 1000)
    trial = _Trial(tree, staging_folder, random, check)
    error = ""
    try:
        newest_ms = trial.newest(use)
        trial.moment(newest_ms, 0 if retention_s is None else now_ms - retention_s * 1000)
        trial.chain(before.txid if before is not None and not before.error else 0)
    except (BrokenHistory, BrokenChain, NotOurs, NothingToRestore, CouldNotCheck) as failure:
        error = ascii(str(failure))[1 : _ERROR_MAX + 1].rstrip("'\"") or type(failure).__name__
    found = Verified(
        verified_at=now_ms if not error else before.verified_at if before is not None else 0,
        tried_at=now_ms,
        txid=trial.txid if not error else before.txid if before is not None else 0,
        random_at=trial.random_at,
        error=error,
    )
    tree.store.replace(verified_key(tree.tenant), msgspec.json.encode(found), tag=None)
    return DrillReport(verified=found, links=trial.links, avoided=tuple(trial.avoided))


class _Trial:
    """One drill under way, step by step: each raises what is wrong."""

    def __init__(self, tree: Tree, staging_folder: Path, random: Random, check: Callable[[Path], CheckReport]) -> None:
        self._tree = tree
        self._staging_folder = staging_folder
        self._random = random
        self._check = check
        self.txid = 0
        self.random_at = 0
        self.links = 0
        self.avoided: list[str] = []

    def newest(self, use: Whole) -> int:
        """Restore the newest state; return when it was captured."""
        with self._folder() as folder:
            path = folder / STAGED_DATABASE
            rebuilt = rebuild(self._tree, path)
            self.txid = rebuilt.txid
            self._judge(folder, rebuilt)
            use(path, rebuilt)
        return rebuilt.timestamp_ms

    def moment(self, newest_ms: int, from_ms: int) -> None:
        """Restore a random second between the oldest that can be and the newest."""
        earliest_ms = timeline.earliest_ms(self._tree)
        if earliest_ms is None:
            raise NothingToRestore(None)
        self.random_at = self._random.randint(min(max(earliest_ms, from_ms), newest_ms), newest_ms)
        with self._folder() as folder:
            rebuilt = rebuild(self._tree, folder / STAGED_DATABASE, at_ms=self.random_at)
            self._judge(folder, rebuilt)

    def chain(self, after_txid: int) -> None:
        """Look at what has come since the last drill."""
        self.links = check_links(
            self._tree, after_txid=after_txid - 1 if after_txid else 0, until_txid=self.txid, random=self._random
        )

    def _judge(self, folder: Path, rebuilt: Rebuilt) -> None:
        """Compare with what its owner wrote beside the file (``rebuild`` has, with what is in it), then have it opened."""
        self.avoided += rebuilt.avoided
        info = self._tree.info(layout.INCREMENTS, rebuilt.txid, rebuilt.txid)
        if info is not None and (info.checksum, info.pages, info.timestamp_ms) != (
            *(rebuilt.checksum, rebuilt.pages, rebuilt.timestamp_ms),
        ):
            raise BrokenHistory(f"what stands beside transaction {rebuilt.txid} is not what it led to")
        report = self._check(folder)
        if report.problems:
            raise BrokenHistory(f"the state after transaction {rebuilt.txid} is damaged: {report.problems[0]}")

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        folder = self._staging_folder / f"drill-{secrets.token_hex(16)}"
        folder.mkdir(mode=0o700, parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def verified_key(tenant: str) -> str:
    """Return where a tenant's last drill is written down."""
    return f"{layout.TENANTS}{tenant}/verified.json"


def read_verified(tree: Tree) -> Verified | None:
    """Return what the last drill has found, ``None`` if there was none, or what is written of it makes no sense."""
    try:
        _, body = tree.store.read(verified_key(tree.tenant), bytes_max=_VERIFIED_BYTES_MAX)
        return msgspec.json.decode(body, type=Verified)
    except (ObjectMissing, ValueError):
        return None
