"""Whether requests can be served, part by part. The answer is kept for a moment, however often it is asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from engine.embedder.client import EmbedderClient
from engine.link import Link
from engine.protocol import RemoteError
from tenants.messages.host import HostStatus
from tenants.messages.replica import ReplicaStatus
from tenants.registry.registry import Registry

_KEPT_S = 0.5
_ASK_MS = 1_000

_BACKLOG_S_MAX = 30.0
"""Changes reach the store within a second while it is up; what waits for so long says that something is wrong."""

_DISK_REASONS = {
    "low": "the disk is nearly full: reading and deleting go on, nothing more is stored",
    "exhausted": "the disk is full, and the ballast has been let go so that reading and deleting go on",
}


class Readiness(msgspec.Struct):
    """``ready``; ``degraded`` when requests are served but not all that belongs to it; ``unavailable`` when not."""

    status: str
    parts: dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Whom to ask."""

    registry: Registry
    host: Link
    embedder: EmbedderClient
    replicator: Link


class ReadinessProbe:
    """Asks every part."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._checked_at = -_KEPT_S
        self._last = Readiness("unavailable", {})
        self._checking = asyncio.Lock()

    async def check(self) -> Readiness:
        """Return the present readiness, at most half a second old."""
        async with self._checking:
            if time.monotonic() - self._checked_at >= _KEPT_S:
                self._last = await self._ask()
                self._checked_at = time.monotonic()
            return self._last

    async def _ask(self) -> Readiness:
        questions: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
            "control_plane": self._control_plane,
            "host": self._host,
            "embedder": self._embedder,
            "replicator": self._replicator,
            "disk": self._disk,
            "isolation": self._isolation,
        }
        answers = await asyncio.gather(*(_answered(question) for question in questions.values()))
        parts = dict(zip(questions, answers, strict=True))
        if any(parts[name]["status"] != "ready" for name in ("control_plane", "host")):
            return Readiness("unavailable", parts)
        ready = all(part["status"] == "ready" for part in parts.values())
        return Readiness("ready" if ready else "degraded", parts)

    async def _control_plane(self) -> dict[str, Any]:
        await self._parts.registry.ping()
        return {"status": "ready"}

    async def _host(self) -> dict[str, Any]:
        status = await self._host_status()
        if not status.fork_server:
            return {"status": "unavailable", "reason": "the fork server is not running"}
        return {"status": "ready", "engines": status.engines, "quarantined": status.quarantined}

    async def _disk(self) -> dict[str, Any]:
        status = await self._host_status()
        if status.disk != "ready":
            return {"status": "degraded", "state": status.disk, "reason": _DISK_REASONS[status.disk]}
        return {"status": "ready"}

    async def _isolation(self) -> dict[str, Any]:
        status = await self._host_status()
        if status.isolation is None:
            return {"status": "unavailable", "reason": "the fork server has not said yet"}
        missing = {layer: why for layer, why in status.isolation.layers.items() if why}
        return {"status": "ready", "level": status.isolation.level, "missing": missing}

    async def _host_status(self) -> HostStatus:
        return await self._parts.host.call("status", result_type=HostStatus, deadline_ms=_ASK_MS)

    async def _embedder(self) -> dict[str, Any]:
        status = await self._parts.embedder.status()
        if status.state != "ready":
            return {"status": "unavailable", "reason": status.reason or status.state}
        return {"status": "ready", "model": status.model, "dimensions": status.dimensions}

    async def _replicator(self) -> dict[str, Any]:
        status = await self._parts.replicator.call("status", result_type=ReplicaStatus, deadline_ms=_ASK_MS)
        part: dict[str, Any] = {"status": "ready", "replicating": status.replicating, "tenants": status.tenants}
        if not status.replicating:
            return part
        part |= {
            "store": status.store,
            "reachable": status.reachable,
            "encrypted": status.encrypted,
            "backlog": {"files": status.outbox_files, "bytes": status.outbox_bytes, "seconds": round(status.backlog_s, 1)},
            "lease_seconds": round(status.lease_s, 1),
            "fenced": status.fenced,
            "stuck": status.stuck,
            "drills_failed": status.drills_failed,
        }
        if reasons := _what_is_wrong(status):
            part |= {"status": "degraded", "reason": "; ".join(reasons)}
        return part


def _what_is_wrong(status: ReplicaStatus) -> list[str]:
    """Return why backups can't be relied on right now; nothing when they can."""
    reasons = []
    if not status.reachable:
        reasons.append("the object store can't be reached: what is written waits on this disk")
    elif status.lease_s <= 0:
        reasons.append("this node holds no lease at the object store")
    if status.backlog_s > _BACKLOG_S_MAX:
        reasons.append(f"changes wait to be carried away for {status.backlog_s:.0f} s")
    if status.fenced:
        reasons.append(f"another node has taken {status.fenced} databases of this one")
    if status.stuck:
        reasons.append(f"{status.stuck} databases have changes that can't be carried away as they are")
    if status.drills_failed:
        reasons.append(f"the backups of {status.drills_failed} databases could not be restored when it was tried")
    return reasons


async def _answered(question: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_ASK_MS / 1000 + 1):
            return await question()
    except (RemoteError, SQLAlchemyError, TimeoutError, OSError) as error:
        return {"status": "unavailable", "reason": "does not answer", "error": type(error).__name__}
