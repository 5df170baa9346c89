"""Which memories a list or a search may return, as a SQL condition on ``memories AS m``.

The condition is applied before candidates are counted or ranked, so that a filtered answer never comes back short.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

VISIBLE = "m.deleted_at IS NULL AND (m.expires_at IS NULL OR m.expires_at > ?)"
"""What any read may see; its one parameter is the present time."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What the caller asked for. All of ``tags`` must be there; ``None`` is no restriction."""

    workspace: str | None = None
    type: str | None = None
    tags: list[str] = field(default_factory=list)
    tier: str | None = None

    def condition(self, now: int) -> tuple[str, list[Any]]:
        """Return the condition and its parameters for the time ``now``."""
        parts, parameters = [VISIBLE], [now]
        columns = (("m.workspace", self.workspace), ("m.type", self.type), ("m.tier", self.tier))
        for column, value in columns:
            if value is not None:
                parts.append(f"{column} = ?")
                parameters.append(value)  # type: ignore[arg-type]
        for tag in self.tags:
            parts.append("m.id IN (SELECT memory_id FROM memory_tags WHERE tag = ?)")
            parameters.append(tag)  # type: ignore[arg-type]
        return " AND ".join(parts), parameters
