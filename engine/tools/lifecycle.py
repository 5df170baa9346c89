"""What an engine does for its database without being asked by a customer."""

from __future__ import annotations

from engine.catalogue.lifecycle import HOUSEKEEP, Housekeep, Housekept
from engine.protocol import Request
from engine.store.database import Database
from engine.tools.handler import Handler


def housekeep(database: Database, arguments: Housekeep, request: Request) -> Housekept:
    """Erase a bounded piece of what is due."""
    return Housekept(next_due=database.housekeep())


HANDLERS: dict[str, Handler] = {HOUSEKEEP.name: housekeep}
"""``hibernate`` and ``database_check`` are answered by the process itself."""
