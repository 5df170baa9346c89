"""What happened lately."""

from __future__ import annotations

from engine.catalogue.activity import RECENT, Activity, RecentActivity
from engine.catalogue.timeframe import microseconds
from engine.protocol import Request
from engine.protocol.moment import to_text
from engine.store import activity
from engine.store.database import Database
from engine.tools.handler import Handler


def recent(database: Database, arguments: RecentActivity, request: Request) -> Activity:
    """Return the newest events of the timeframe."""
    now = database.now()
    since = now - microseconds(arguments.timeframe)
    events = activity.events(database.connection, arguments.workspace, since=since, limit=arguments.limit + 1, now=now)
    return Activity(events=events[: arguments.limit], since=to_text(since), truncated=len(events) > arguments.limit)


HANDLERS: dict[str, Handler] = {RECENT.name: recent}
