"""What is done for one tenant: files merged; the backup proven, a snapshot stored, what is too old given up. Blocking.

Each of the last three is done only after the one before it went well: a snapshot is made of what was just restored and found
sound, and nothing is given up of a history that could not be restored.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom

import structlog

from engine.catalogue.lifecycle import CheckReport
from tenants.messages.replica import STAGING
from tenants.replica.history import retention, snapshots
from tenants.replica.history.compaction import compact
from tenants.replica.history.rebuild import BrokenHistory, Rebuilt
from tenants.replica.maintenance.drill import DrillReport, drill
from tenants.replica.maintenance.sandboxed_check import check_folder
from tenants.replica.recovery.staging import Staging
from tenants.replica.tree import NotOurs, Tree

_log = structlog.get_logger()

_CLOCK_MARGIN_S = 6 * 3600
"""So much more is kept than the plan says: the clock by which it is judged may be hours fast."""

_NAMED_MAX = 10
"""Damaged files that are named in the log."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a tenant's daily turn has brought."""

    report: DrillReport
    snapshot_at: int = 0
    """When a snapshot was stored, in milliseconds since 1970; 0 when none was needed."""


class Care:
    """For tenants of this node, one call at a time for each."""

    def __init__(
        self,
        data_folder: Path,
        *,
        random: Random | None = None,
        wall: Callable[[], float] = time.time,
        check: Callable[[Path], CheckReport] = check_folder,
        store_ms: Callable[[], float | None] = lambda: None,
    ) -> None:
        """``store_ms`` returns what the store's clock says, in milliseconds since 1970, as far as it is known."""
        self._staging = Staging(data_folder)
        self._staging_folder = data_folder / STAGING
        self._spool = data_folder / "spool"
        self._random = random or SystemRandom()
        self._wall = wall
        self._check = check
        self._store_ms = store_ms

    def now_ms(self) -> int:
        """Return the time in milliseconds since 1970."""
        return int(self._wall() * 1000)

    def merge(self, tree: Tree, epoch: int) -> None:
        """Merge what there is enough of."""
        try:
            made = compact(tree, self._spool, epoch)
        except (BrokenHistory, NotOurs) as error:
            # The drill will say whether something can't be restored. These files are not tried again.
            _log.error("merge_failed", tenant=tree.tenant, reason=ascii(str(error)))
        else:
            _log.info("merged", tenant=tree.tenant, files=made)

    def prove(self, tree: Tree, epoch: int, *, pages: int, retention_s: int | None) -> Proof:
        """Drill, and do what depends on it. ``disk_full`` when a database of so many ``pages`` has no room here."""
        self._staging.check_room(pages)
        snapshot_at = 0

        def use(path: Path, rebuilt: Rebuilt) -> None:
            nonlocal snapshot_at
            latest = snapshots.latest_snapshot(tree)
            if latest is None or latest.max_txid < rebuilt.txid:
                snapshots.put_snapshot(tree, path, rebuilt, epoch, self._spool)
                snapshot_at = self.now_ms()

        report = drill(
            tree,
            self._staging_folder,
            random=self._random,
            retention_s=retention_s,
            wall=self._wall,
            check=self._check,
            use=use,
        )
        if report.avoided:
            _log.error("backup_damaged", tenant=tree.tenant, files=report.avoided[:_NAMED_MAX])
        if report.error:
            _log.error("drill_failed", tenant=tree.tenant, reason=report.error)
        else:
            _log.info("drilled", tenant=tree.tenant, txid=report.verified.txid, links=report.links)
            self.expire(tree, retention_s)
        return Proof(report=report, snapshot_at=snapshot_at)

    def expire(self, tree: Tree, retention_s: int | None) -> None:
        """Give up what the plan no longer looks back to, as far as a snapshot that is old enough lets go of it.

        By the earlier of two clocks, ours and the store's: one that is days fast would give up days.
        """
        if retention_s is None:
            return  # nobody has said yet
        store_ms = self._store_ms()
        now_ms = self.now_ms() if store_ms is None else min(self.now_ms(), int(store_ms))
        removed = retention.expire(tree, now_ms - kept_ms(retention_s))
        if removed:
            _log.info("expired", tenant=tree.tenant, files=removed)


def kept_ms(retention_s: int) -> int:
    """Return for how many milliseconds history is kept where the plan looks back so far."""
    return (retention_s + _CLOCK_MARGIN_S) * 1000
