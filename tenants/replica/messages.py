"""What the replicator answers on ``run/replica.sock``."""

from __future__ import annotations

import msgspec


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
