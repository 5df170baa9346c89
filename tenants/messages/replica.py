"""What is said on ``run/replica.sock``."""

from __future__ import annotations

from typing import Literal

import msgspec

STAGING = "staging"
"""Beneath the data folder: databases on their way from the object store into a tenant's folder, one folder each."""


class ReplicaStatus(msgspec.Struct):
    """Result of method ``status``."""

    replicating: bool
    """Whether changes are carried to an object store. False: this node's disk holds the only copy."""
    tenants: int
    """Tenants with a folder on this node."""
    bytes: int
    """What their folders hold."""
    scanned_at: float
    """Seconds since 1970."""
    outbox_files: int = 0
    """Files in the tenants' outboxes that wait to be carried away."""
    outbox_bytes: int = 0
    """Their sizes."""
    refused: int = 0
    """What lies in outboxes and is never carried away: it is no such file, or not what its name says."""
    store: str = ""
    """Kind of the object store: ``directory``, ``s3``, or empty where there is none."""
    reachable: bool = True
    """Whether the store answered when it was last asked."""
    encrypted: bool = False
    backlog_s: float = 0.0
    """How old the oldest file is that waits."""
    lag_p50_s: float = 0.0
    lag_p99_s: float = 0.0
    """Both from a file's capture to its acknowledgement by the store, of the last thousand."""
    shipped_total: int = 0
    shipped_bytes_total: int = 0
    failures_total: int = 0
    """Attempts that failed."""
    requests_total: dict[str, int] = {}
    """Requests to the store, by kind: put, get, head, list, delete."""
    fenced: int = 0
    """Tenants of this node that another node has taken."""
    stuck: int = 0
    """Tenants with a file that can't be shipped, and keeps those behind it: not what it says, or the one before is missing."""
    lease_s: float = 0.0
    """For how long this node's lease still holds."""
    drills_total: int = 0
    drills_failed: int = 0
    """Databases whose last drill failed: their backup can't be trusted."""
    last_drill_at: float = 0.0
    """Seconds since 1970."""


class Prepare(msgspec.Struct):
    """Method ``prepare``: may this node serve the tenant, and from what? Asked before an engine's first start.

    ``unavailable`` while it is being found out, or restored; ``moved`` when another node has it.
    """

    tenant: str


class Prepared(msgspec.Struct):
    """Yes."""

    staged: str | None = None
    """A folder beneath ``staging`` with the newest state, to be adopted first: the disk has none, or an older one."""
    rebase: int | None = None
    """For the fork (``engine.protocol.processes.Fork``)."""


class WaitReplicated(msgspec.Struct):
    """Method ``wait``: until the tenant's files up to this transaction are in the store. Ends at the call's deadline."""

    tenant: str
    txid: int


class Replicated(msgspec.Struct):
    """They are."""

    txid: int


class AskBackups(msgspec.Struct):
    """Method ``backups``: what could be restored."""

    tenant: str


class Backups(msgspec.Struct, kw_only=True):
    """Result of method ``backups``. Times are milliseconds since 1970."""

    replicating: bool
    store: str = ""
    encrypted: bool = False
    replicated_to: int | None = None
    """Everything captured up to then is in the store."""
    txid: int = 0
    backlog_files: int = 0
    backlog_bytes: int = 0
    lag_ms: int = 0
    """Age of the oldest file that waits; 0 when none does."""
    earliest: int | None = None
    """The first moment that can be restored; any later one up to ``replicated_to`` can."""
    retention_s: int | None = None
    """How far back the plan lets one go; ``None``: nothing is given up yet."""
    last_snapshot_at: int | None = None
    last_verified_at: int | None = None
    """When this database was last restored from the store alone and found whole."""
    verification_error: str = ""
    """Why the last drill failed; empty if it did not."""


RestoreMode = Literal["preview", "fork", "in_place"]


class Restore(msgspec.Struct, kw_only=True):
    """Method ``restore``: fetch the state at a moment, and hand it to an engine.

    ``preview``: the tenant's own, to be asked ``restore_preview`` then. ``in_place``: the tenant's own, which takes it in.
    ``fork``: that of ``into``, a new tenant.
    """

    tenant: str
    at_ms: int
    """Milliseconds since 1970: the newest state captured at or before then."""
    mode: RestoreMode
    into: str = ""
    after_txid: int = 0
    """First wait until this transaction is in the store: what was flushed just now."""


class RestoreDone(msgspec.Struct, kw_only=True):
    """It is in the tenant's folder (``preview``), or served (``in_place``, ``fork``)."""

    restored_to_ms: int
    """When the state was captured."""
    txid: int
    before_ms: int = 0
    """Of an ``in_place``: the last moment before, to which a restore takes it back."""
    memories: int = 0


class SetRetention(msgspec.Struct):
    """Method ``retention``: how many seconds back each tenant's plan lets it go. Others keep what was said last."""

    seconds: dict[str, int]


class RetentionSet(msgspec.Struct):
    """Result of method ``retention``."""


class ShipControl(msgspec.Struct):
    """Method ``ship_control``: carry away a snapshot of the control plane."""

    name: str
    """Of a file beneath ``<data>/spool``; the replicator reads it, and whoever wrote it removes it."""


class ControlShipped(msgspec.Struct):
    """It is in the store."""

    number: int


class FetchControl(msgspec.Struct):
    """Method ``fetch_control``: bring the newest snapshot of the control plane."""


class ControlFetched(msgspec.Struct):
    """Result of method ``fetch_control``."""

    name: str | None
    """Of a file beneath ``<data>/spool``, the caller's to remove; ``None``: the store has none."""
