"""Looks over the tenants' folders: how many, how large, what waits in their outboxes. It trusts nothing that it finds there.

An outbox is looked into when something was put in or taken out since the last time; a file is read once. So a tenant that does
nothing costs the question when its outbox was last changed, and no more. Nobody's files hold up the others': each outbox has a
bounded piece of work done in a scan.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import structlog

from engine.layout import TENANT
from tenants.messages.replica import ReplicaStatus
from tenants.replica import outbox
from tenants.replica.outbox import OUTBOX, Listing, OutboxFile
from tenants.untrusted import Folder, Refused

_log = structlog.get_logger()

_WORK_BYTES_MAX = 16 * 2**20
"""Of database, looked at for one tenant in one scan: a tenth of a second."""

_RECENT_NS = 2_000_000_000
"""A change so short before it was seen may have been followed by another within the same tick of the file system's clock."""

_LOGGED_MAX = 10
"""Refused files that are named in the log, of one tenant and scan."""

_ENTRIES_MAX = 10_000
"""Of a folder, when its size is summed up."""


@dataclass
class _Outbox:
    """What is known of one tenant's outbox."""

    changed_ns: int = -1
    """When it was last changed, as of the last look; -1 is never, or so shortly before that it must be looked at again."""
    listing: Listing = field(default_factory=Listing)
    verified: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Versions of the files that are what they say."""
    malformed: dict[str, tuple[tuple[int, int], str]] = field(default_factory=dict)
    """Versions of those that are not, and why."""
    under_way: tuple[OutboxFile, Iterator[int]] | None = None

    @property
    def waiting(self) -> list[OutboxFile]:
        """The files that may be carried away, as far as is known."""
        return [file for file in self.listing.files if file.name not in self.malformed]


class Watcher:
    """Keeps what it has seen from one ``scan`` to the next. Blocking; not to be called twice at once."""

    def __init__(self, tenants_folder: Path, *, verifies: bool = True) -> None:
        """``verifies``: whether files are read; not needed where somebody else reads them, to ship them."""
        self._tenants_folder = tenants_folder
        self._verifies = verifies
        self._outboxes: dict[str, _Outbox] = {}

    def scan(self) -> ReplicaStatus:
        """Return what is there now. What vanishes while it is looked at is not counted."""
        now = time.time()
        status = ReplicaStatus(replicating=False, tenants=0, bytes=0, scanned_at=now)
        seen: dict[str, _Outbox] = {}
        for tenant in self._tenants():
            path = Path(tenant.path)
            status.tenants += 1
            known = seen[tenant.name] = self._outboxes.get(tenant.name) or _Outbox()
            status.bytes += self._look_into(tenant.name, path, known)
            waiting = known.waiting
            status.outbox_files += len(waiting)
            status.outbox_bytes += sum(file.size for file in waiting)
            oldest_s = min((file.version[1] for file in waiting), default=int(now * 1e9)) / 1e9
            status.backlog_s = max(status.backlog_s, now - oldest_s)
            status.refused += len(known.listing.refused) + len(known.malformed)
        self._outboxes = seen
        return status

    def _tenants(self) -> Iterator[os.DirEntry[str]]:
        for shard in _folders(self._tenants_folder):
            yield from (tenant for tenant in _folders(Path(shard.path)) if TENANT.fullmatch(tenant.name))

    def _look_into(self, tenant: str, path: Path, known: _Outbox) -> int:
        """Take notice of what is new in one tenant's outbox, and return what its folder takes on the disk."""
        size = 0
        try:
            with Folder(path) as folder:
                size = folder.disk_bytes(entries_max=_ENTRIES_MAX)
                changed_ns = folder.status(OUTBOX).st_ctime_ns
                size += folder.disk_bytes(OUTBOX, entries_max=_ENTRIES_MAX)
                if changed_ns != known.changed_ns:
                    is_recent = changed_ns > time.time_ns() - _RECENT_NS
                    self._take(tenant, known, outbox.list_files(folder))
                    known.changed_ns = -1 if is_recent else changed_ns
        except Refused as refused:
            known.changed_ns = -1
            self._take(tenant, known, Listing(refused={} if refused.reason == "missing" else {OUTBOX: refused.reason}))
        if self._verifies:
            self._verify(tenant, path, known)
        return size

    def _take(self, tenant: str, known: _Outbox, listing: Listing) -> None:
        self._log_refused(
            tenant, {name: why for name, why in listing.refused.items() if known.listing.refused.get(name) != why}
        )
        known.listing = listing
        versions = {file.name: file.version for file in listing.files}
        known.verified = {name: version for name, version in known.verified.items() if versions.get(name) == version}
        known.malformed = {name: why for name, why in known.malformed.items() if versions.get(name) == why[0]}
        if known.under_way is not None and versions.get(known.under_way[0].name) != known.under_way[0].version:
            known.under_way = None

    def _verify(self, tenant: str, path: Path, known: _Outbox) -> None:
        """Do a bounded piece of the reading that is left."""
        work = 0
        for file in known.waiting:
            if work >= _WORK_BYTES_MAX:
                return
            if known.verified.get(file.name) == file.version:
                continue
            if known.under_way is None or known.under_way[0] != file:
                known.under_way = file, outbox.verify(path, file)
            try:
                for looked_at in known.under_way[1]:
                    work += looked_at
                    if work >= _WORK_BYTES_MAX:
                        return
                known.verified[file.name] = file.version
            except Refused as refused:
                if refused.reason == "missing":
                    known.changed_ns = -1
                else:
                    known.malformed[file.name] = file.version, refused.reason
                    self._log_refused(tenant, {file.name: refused.reason})
            known.under_way = None
            work += outbox.FILE_OVERHEAD_BYTES

    def _log_refused(self, tenant: str, refused: dict[str, str]) -> None:
        for name, reason in islice(refused.items(), _LOGGED_MAX):
            _log.warning("outbox_file_refused", tenant=tenant, file=ascii(name)[:100], reason=reason)


def _folders(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
