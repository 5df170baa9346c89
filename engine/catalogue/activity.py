"""What happened lately."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.catalogue.memory import Timestamp, Workspace
from engine.catalogue.operation import Arguments, Tool
from engine.catalogue.timeframe import Timeframe

EXCERPT_CHARACTERS = 160
"""One or two sentences: enough to recognise a memory by."""


class RecentActivity(Arguments):
    """Arguments of ``recent_activity``."""

    timeframe: Timeframe = "24h"
    workspace: Workspace | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 20


class Event(msgspec.Struct, kw_only=True):
    """One thing that happened to one memory."""

    what: Literal["created", "updated", "deleted"]
    at: Timestamp
    id: int
    version: int
    """The version that came to be; of a deletion, the one that was deleted."""
    by: str | None
    """The key whose request it was, where that was recorded."""
    summary: str | None
    """Why, in the words of whoever changed it."""
    type: str
    workspace: str
    excerpt: str
    """The beginning of the content as it was after that."""


class Activity(msgspec.Struct):
    """Events, newest first. ``since`` is where the timeframe begins; ``truncated``: there were more in it."""

    events: list[Event]
    since: Timestamp
    truncated: bool


RECENT = Tool(
    name="recent_activity",
    title="Recent activity",
    description="See what was created, changed and deleted lately, newest first. Good at the start of a session.",
    arguments=RecentActivity,
    result=Activity,
    kind="read",
    category="overview",
)
