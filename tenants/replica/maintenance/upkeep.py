"""What is known of the care for each tenant's history: how far it was merged, when it was proven. Small files that outlive us.

``<data>/replication/<shard>/<tenant>.json`` belongs to the service's user alone. One is written when a tenant changes for the
first time since it was looked after, and when that has been done; nothing is written for each change. If a file is lost, work
is done again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine.layout import TENANT, tenant_folder

REPLICATION = "replication"

_RETENTION = "retention.json"


class Upkeep(msgspec.Struct, kw_only=True):
    """Of one tenant. Times are milliseconds since 1970, 0 for never."""

    changed_txid: int = 0
    """The newest transaction that was shipped, as far as it was noticed."""
    changed_at: int = 0
    """When it was first noticed since the last drill."""
    merged_txid: int = 0
    """Up to where files have been merged."""
    proven_txid: int = 0
    """Up to where the last drill went, whatever came of it."""
    tried_at: int = 0
    verified_at: int = 0
    snapshot_at: int = 0
    expired_to: int = 0
    """The ``snapshot_at`` behind which nothing older is left: then there is nothing to give up until the next."""
    error: str = ""
    """Why the last drill failed; empty if it did not."""

    @property
    def has_changed(self) -> bool:
        """Whether something is to be proven."""
        return self.changed_txid > self.proven_txid or bool(self.error)


class Records:
    """The files of all tenants. Blocking, briefly."""

    def __init__(self, data_folder: Path) -> None:
        self._folder = data_folder / REPLICATION

    def all(self) -> Iterator[tuple[str, Upkeep]]:
        """Yield what is known of each tenant; a file that makes no sense is none."""
        for path in sorted(self._folder.glob("*/*.json")):
            if TENANT.fullmatch(path.stem):
                with contextlib.suppress(OSError, ValueError):
                    yield path.stem, msgspec.json.decode(path.read_bytes(), type=Upkeep)

    def write(self, tenant: str, upkeep: Upkeep) -> None:
        """Keep what is known of a tenant."""
        _replace(self._path(tenant), msgspec.json.encode(upkeep))

    def remove(self, tenant: str) -> None:
        """Forget a tenant."""
        self._path(tenant).unlink(missing_ok=True)

    def retention(self) -> dict[str, int]:
        """Return how many seconds back each tenant's plan lets it go, as it was last said."""
        try:
            return msgspec.json.decode((self._folder / _RETENTION).read_bytes(), type=dict[str, int])
        except (OSError, ValueError):
            return {}  # nothing is given up until it is said anew

    def _path(self, tenant: str) -> Path:
        return self._folder / tenant_folder(Path(), tenant).parent.name / f"{tenant}.json"

    def write_retention(self, seconds: dict[str, int]) -> None:
        """Keep what was said."""
        _replace(self._folder / _RETENTION, msgspec.json.encode(seconds))


def _replace(path: Path, body: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_bytes(body)
    draft.replace(path)
