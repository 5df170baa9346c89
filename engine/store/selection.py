"""Which memories a list or a search may return, as a SQL condition on ``memories AS m``.

The condition is applied before candidates are counted or ranked, so that a filtered answer never comes back short.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.catalogue.memory import Scope
from engine.store.filter import compile_filter

REVEALED = "(m.import_id IS NULL OR m.import_id IN (SELECT id FROM imports WHERE revealed_at IS NOT NULL))"
"""What is staged by an import is nobody's to see before the whole file is there."""

LIVING = f"(m.expires_at IS NULL OR m.expires_at > ?) AND {REVEALED}"
"""What has not expired, deleted or not. Its one parameter is the present time."""

VISIBLE = f"m.deleted_at IS NULL AND {LIVING}"
"""What any read may see. Its one parameter is the present time."""

# A tag names itself and everything below it; '0' is the character after '/'.
_TAGGED = (
    "m.id IN (SELECT memory_id FROM memory_tags WHERE tag = ?"
    " UNION ALL SELECT memory_id FROM memory_tags WHERE tag >= ? AND tag < ?)"
)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What the caller asked for; ``None`` is no restriction. Times are microseconds since 1970."""

    workspace: str | None = None
    type: str | None = None
    tags: list[str] = field(default_factory=list)
    """All must be there. ``a`` is also found as ``a/b``."""
    tier: str | None = None
    scope: Scope | None = None
    """Without an id: all scopes of that type."""
    filter: dict[str, Any] | None = None
    """In the filter language (``engine.store.filter``)."""
    event_after: int | None = None
    event_before: int | None = None
    """A memory counts when what it tells of, from ``event_time`` on for its duration, touches the time between the two."""
    created_after: int | None = None
    created_before: int | None = None
    """From ``created_after`` (inclusive) to ``created_before`` (exclusive)."""
    in_trash: bool = False
    """Ask for deleted memories instead of those that are not."""

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out but what nobody may see."""
        return self == Selection()

    def condition(self, now: int) -> tuple[str, list[Any]]:
        """Return the condition and its parameters for the time ``now``; ``invalid`` for a bad filter."""
        parts: list[str] = [f"m.deleted_at IS NOT NULL AND {LIVING}" if self.in_trash else VISIBLE]
        parameters: list[Any] = [now]
        for sql, value in (
            ("m.workspace = ?", self.workspace),
            ("m.type = ?", self.type),
            ("m.tier = ?", self.tier),
            ("m.event_time + 1000000 * coalesce(m.event_duration_seconds, 0) >= ?", self.event_after),
            ("m.event_time < ?", self.event_before),
            ("m.created_at >= ?", self.created_after),
            ("m.created_at < ?", self.created_before),
        ):
            if value is not None:
                parts.append(sql)
                parameters.append(value)
        if self.scope is not None:
            parts.append("m.scope_type = ?")
            parameters.append(self.scope.type)
            if self.scope.id is not None:
                parts.append("m.scope_id = ?")
                parameters.append(self.scope.id)
        for tag in self.tags:
            parts.append(_TAGGED)
            parameters += (tag, f"{tag}/", f"{tag}0")
        if self.filter is not None:
            sql, values = compile_filter(self.filter)
            parts.append(sql)
            parameters += values
        return " AND ".join(parts), parameters
