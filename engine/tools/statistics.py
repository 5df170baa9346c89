"""What a database holds."""

from __future__ import annotations

from engine.catalogue.statistics import STATS, MemoryStats, Stats
from engine.protocol import Request
from engine.store import statistics
from engine.store.database import Database
from engine.tools.handler import Handler


def stats(database: Database, arguments: MemoryStats, request: Request) -> Stats:
    """Count what reads can see."""
    return statistics.stats(database.connection, arguments.workspace, database.now())


HANDLERS: dict[str, Handler] = {STATS.name: stats}
