"""When a tenant's daily turn is: at a moment that its name decides, so that a node's tenants are spread over the day. Pure."""

from __future__ import annotations

import zlib

DAY_MS = 24 * 3600 * 1000


def last_turn(tenant: str, now_ms: int) -> int:
    """Return when the tenant's turn last was, in milliseconds since 1970."""
    offset = zlib.crc32(tenant.encode()) % DAY_MS
    return (now_ms - offset) // DAY_MS * DAY_MS + offset


def is_due(tenant: str, now_ms: int, *, changed_at: int, tried_at: int) -> bool:
    """Whether a turn has come since the tenant changed first and was last looked after.

    Times that lie ahead are of a clock that was set back since: they count as long ago.
    """
    turn = last_turn(tenant, now_ms)
    return all(at <= turn or at > now_ms for at in (changed_at, tried_at))
