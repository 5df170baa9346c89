"""The host's settings, from an environment that is passed in. ``gateway.settings`` has looked at them before we start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.memory_limit import engines_memory_bytes

_MB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class HostSettings:
    """What the host needs to know."""

    data_folder: Path
    idle_s: float
    memory_bytes_max: int
    """What all engines together may hold."""
    disk_reserve_bytes: int | None = None
    """What engines keep free on the disk; ``None`` for the default of ``FreeSpace``."""
    gated: bool = False
    """Whether the replicator is asked before a tenant's first start: there is another copy, and perhaps another node."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> HostSettings:
        """Read ``ENGRAM_DATA_DIR``, ``ENGRAM_ENGINE_IDLE_SECONDS`` (300), ``ENGRAM_ENGINES_MEMORY_MAX_MB`` (half of all),
        ``ENGRAM_DISK_RESERVE_MB`` and ``ENGRAM_REPLICA_URL`` (only whether it is set, and not ``off``)."""
        disk_mb = environment.get("ENGRAM_DISK_RESERVE_MB")
        return cls(
            data_folder=Path(environment.get("ENGRAM_DATA_DIR", "var")).resolve(),
            idle_s=float(environment.get("ENGRAM_ENGINE_IDLE_SECONDS", "300")),
            memory_bytes_max=engines_memory_bytes(environment.get("ENGRAM_ENGINES_MEMORY_MAX_MB", "")),
            disk_reserve_bytes=int(float(disk_mb) * _MB) if disk_mb else None,
            gated=environment.get("ENGRAM_REPLICA_URL", "off") != "off",
        )
