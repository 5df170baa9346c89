"""How long a memory lives."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from engine.catalogue.memory import TTL_SECONDS_MAX, EventTime, Memory, MemoryId
from engine.catalogue.operation import Arguments, Tool


class MemorySetExpiration(Arguments):
    """Arguments of ``memory_set_expiration``: one of ``ttl_seconds`` and ``expires_at``."""

    id: MemoryId
    ttl_seconds: Annotated[int, Meta(ge=0, le=TTL_SECONDS_MAX, description="Seconds from now; 0 clears it.")] | None = None
    expires_at: EventTime | None = None


class MemoryPromote(Arguments):
    """Arguments of ``memory_promote_to_permanent``."""

    id: MemoryId


SET_EXPIRATION = Tool(
    name="memory_set_expiration",
    title="Let a memory expire",
    description="Say when a memory expires, in seconds from now or as a time. 0 seconds: never.",
    arguments=MemorySetExpiration,
    result=Memory,
    kind="write",
    profile="full",
    destructive=True,
    idempotent=True,
)
PROMOTE = Tool(
    name="memory_promote_to_permanent",
    title="Keep a memory for good",
    description="Make a memory that would expire permanent.",
    arguments=MemoryPromote,
    result=Memory,
    kind="write",
    profile="full",
    idempotent=True,
)
