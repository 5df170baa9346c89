"""What the fork server is told from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.main import EnginesSettings
from engine.memory_limit import engines_memory_bytes, memory_limit_bytes
from engine.sandbox.limits import MEGABYTE

_HARD_LIMIT_PERCENT = 125
"""Of the memory that engines are meant to take together: past it the kernel takes one."""

_BESIDE_ENGINES_BYTES = 256 * MEGABYTE


@dataclass(frozen=True, kw_only=True)
class ForkServerSettings:
    """What the fork server needs to know."""

    engines: EnginesSettings
    engines_memory_bytes_max: int
    """What all engines together are meant to hold."""
    isolation_min: str
    """The least level of isolation to go on with: ``process``, ``partial`` or ``full``."""
    user: str | None
    """Whom the other programs run as; ``None`` for the user of this one."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ForkServerSettings:
        """Read ``ENGRAM_DATA_DIR``, ``ENGRAM_ENGINE_MEMORY_MAX_MB``, ``ENGRAM_ENGINES_MEMORY_MAX_MB``,
        ``ENGRAM_DISK_RESERVE_MB``, ``ENGRAM_ISOLATION``, ``ENGRAM_USER`` and ``ENGRAM_CAPTURE`` (``0``: off)."""
        disk_reserve_mb = environment.get("ENGRAM_DISK_RESERVE_MB")
        return cls(
            engines=EnginesSettings(
                data_folder=Path(environment.get("ENGRAM_DATA_DIR", "var")).resolve(),
                memory_max_mb=int(environment.get("ENGRAM_ENGINE_MEMORY_MAX_MB") or 1024),
                disk_reserve_bytes=int(float(disk_reserve_mb) * MEGABYTE) if disk_reserve_mb else None,
                capture=environment.get("ENGRAM_CAPTURE") != "0",
            ),
            engines_memory_bytes_max=engines_memory_bytes(environment.get("ENGRAM_ENGINES_MEMORY_MAX_MB", "")),
            isolation_min=environment.get("ENGRAM_ISOLATION") or "process",
            user=environment.get("ENGRAM_USER") or None,
        )

    @property
    def engines_memory_hard_bytes(self) -> int:
        """At which the kernel takes an engine: more than they are meant to take together, and no more than there is.

        What it counts besides is the fork server itself, and those pages of files that it can't drop at once.
        """
        return min(memory_limit_bytes(), self.engines_memory_bytes_max * _HARD_LIMIT_PERCENT // 100 + _BESIDE_ENGINES_BYTES)
