"""The metrics of this node: the gateway's own, and what host, embedder and replicator tell when they are asked."""

from __future__ import annotations

import contextlib

from prometheus_client import CollectorRegistry, Gauge, GCCollector, PlatformCollector, ProcessCollector

from engine.protocol import RemoteError
from gateway.bulk_budget import BulkBudget
from gateway.embedding_pump import EmbeddingPump
from gateway.readiness import Parts
from gateway.telemetry import RequestMetrics
from tenants.messages.host import HostStatus
from tenants.messages.replica import ReplicaStatus

_REPLICA = {
    "tenants": ("engram_tenants_on_disk", "Tenants with a folder on this node."),
    "bytes": ("engram_tenants_bytes", "Bytes of all tenants' folders on this node."),
    "outbox_files": ("engram_outbox_files", "Files of changes that wait to be carried away."),
    "outbox_bytes": ("engram_outbox_bytes", "Bytes of these files."),
    "refused": ("engram_outbox_refused", "What lies in outboxes and is never carried away."),
    "replicating": ("engram_replica_replicating", "Whether changes are carried to an object store."),
    "reachable": ("engram_replica_reachable", "Whether the object store answered when it was last asked."),
    "encrypted": ("engram_replica_encrypted", "Whether what is carried there is encrypted."),
    "backlog_s": ("engram_replica_backlog_seconds", "How old the oldest file is that waits to be carried away."),
    "lag_p99_s": ("engram_replica_lag_p99_seconds", "From capture to the store's acknowledgement, of the last files."),
    "shipped_total": ("engram_replica_shipped", "Files carried away since the replicator began."),
    "shipped_bytes_total": ("engram_replica_shipped_bytes", "Bytes of these files."),
    "failures_total": ("engram_replica_failures", "Attempts that failed since the replicator began."),
    "stuck": ("engram_replica_stuck", "Databases with a file that can't be carried away, and keeps the others."),
    "fenced": ("engram_replica_fenced", "Databases of this node that another has taken."),
    "lease_s": ("engram_replica_lease_seconds", "For how long this node's lease still holds."),
    "drills_total": ("engram_replica_drills", "Backups restored to prove them, since the replicator began."),
    "drills_failed": ("engram_replica_drills_failed", "Databases whose last such proof failed."),
    "last_drill_at": ("engram_replica_last_drill_timestamp_seconds", "When the last such proof was made, since 1970."),
}
"""What the replicator tells of itself: each figure with its metric."""


class Metrics:
    """One collector registry per application, so that two can live in one process."""

    def __init__(self, parts: Parts, pump: EmbeddingPump, budget: BulkBudget) -> None:
        self.registry = CollectorRegistry()
        self.requests = RequestMetrics(self.registry)
        self._parts = parts
        self._pump = pump
        self._budget = budget
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._up = Gauge("engram_part_up", "Whether a part answers.", ("part",), registry=self.registry)
        self._engines = self._gauge("engram_engines", "Engines that run.")
        self._starts = self._gauge("engram_engine_starts", "Engines started since the host began.")
        self._hibernations = self._gauge("engram_engine_hibernations", "Engines put to sleep since the host began.")
        self._crashes = self._gauge("engram_engine_crashes", "Engines that ended by themselves since the host began.")
        self._wakings = self._gauge("engram_engine_wakings", "Engines started to erase what was due, since the host began.")
        self._evictions = self._gauge("engram_engine_evictions", "Engines put to sleep for memory since the host began.")
        self._starts_waiting = self._gauge("engram_engine_starts_waiting", "Databases in the queue to be woken.")
        self._starts_refused = self._gauge("engram_engine_starts_refused", "Starts refused since the host began.")
        self._hung = self._gauge("engram_engines_hung", "Engines that hung and were killed since the host began.")
        self._memory = self._gauge("engram_engines_memory_bytes", "Memory that engines share with no other process.")
        self._memory_max = self._gauge("engram_engines_memory_max_bytes", "What engines may hold.")
        self._quarantined = self._gauge("engram_databases_quarantined", "Databases known to be damaged and set aside.")
        self._texts = self._gauge("engram_embedder_texts", "Texts embedded since the embedder began.")
        self._batches = self._gauge("engram_embedder_batches", "Batches run since the embedder began.")
        self._seconds = self._gauge("engram_embedder_seconds", "Seconds spent embedding since the embedder began.")
        self._queued = self._gauge("engram_embedder_queued", "Passages that wait for the embedder.")
        self._waiting = self._gauge("engram_pending_tenants", "Tenants known to have texts without vectors.")
        self._bulk_waiting = self._gauge("engram_bulk_waiting", "Calls of bulk writers that wait for a turn.")
        self._bulk_seconds = self._gauge(
            "engram_bulk_seconds", "Seconds engines spent on bulk writing since the gateway began."
        )
        self._held = self._gauge("engram_databases_held", "Databases not served here because another node has them.")
        self._replica = {field: self._gauge(name, text) for field, (name, text) in _REPLICA.items()}
        self._store_requests = Gauge(
            "engram_replica_requests",
            "Requests to the object store since the replicator began.",
            ("kind",),
            registry=self.registry,
        )

    async def refresh(self) -> None:
        """Ask the other parts; one that does not answer shows as down and keeps its last figures."""
        for part, ask in (("host", self._ask_host), ("embedder", self._ask_embedder), ("replicator", self._ask_replicator)):
            self._up.labels(part).set(0)
            with contextlib.suppress(RemoteError):
                await ask()
                self._up.labels(part).set(1)
        self._waiting.set(self._pump.waiting)
        self._bulk_waiting.set(self._budget.waiting)
        self._bulk_seconds.set(self._budget.seconds_total)

    async def _ask_host(self) -> None:
        status = await self._parts.host.call("status", result_type=HostStatus, deadline_ms=1000)
        self._engines.set(status.engines)
        self._starts.set(status.starts_total)
        self._hibernations.set(status.hibernations_total)
        self._crashes.set(status.crashes_total)
        self._wakings.set(status.wakings_total)
        self._quarantined.set(status.quarantined)
        self._held.set(status.held)
        self._evictions.set(status.evictions_total)
        self._starts_waiting.set(status.starts_waiting)
        self._starts_refused.set(status.starts_refused_total)
        self._hung.set(status.hung_total)
        self._memory.set(status.memory_bytes)
        self._memory_max.set(status.memory_bytes_max)

    async def _ask_embedder(self) -> None:
        status = await self._parts.embedder.status()
        self._texts.set(status.texts_total)
        self._batches.set(status.batches_total)
        self._seconds.set(status.seconds_total)
        self._queued.set(status.queued)

    async def _ask_replicator(self) -> None:
        status = await self._parts.replicator.call("status", result_type=ReplicaStatus, deadline_ms=1000)
        for field, gauge in self._replica.items():
            gauge.set(getattr(status, field))
        for kind, count in status.requests_total.items():
            self._store_requests.labels(kind).set(count)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)
