"""What must not come back: told by the database that was purged, and taken over by its fork.

The rest of the family is answered by the process itself: ``flush``, and ``restore_preview``, which takes a thread.
"""

from __future__ import annotations

from collections.abc import Generator

from engine.catalogue.recovery import FORGET, PURGES, Forget, Forgotten, ListPurges, Purges
from engine.protocol import Request
from engine.store import purges
from engine.store.database import Database
from engine.tools.handler import Handler

_PURGES_AT_ONCE = 200
"""Far less than a chunk may hold: whoever passes each on with one ``forget`` has it done well before its deadline."""


def list_purges(database: Database, arguments: ListPurges, request: Request) -> Generator[Purges]:
    """Yield everything that was purged, in the order of the ids."""
    for page in purges.pages(database.connection, _PURGES_AT_ONCE):
        yield Purges(purges=page)


def forget(database: Database, arguments: Forget, request: Request) -> Forgotten:
    """Erase what was purged elsewhere, as if it were purged here."""
    erased = 0
    for number in purges.carry(database.connection, arguments.purges):
        erased += number
        database.check_deadline()
    if erased:
        database.note_purge()
    return Forgotten(erased=erased)


HANDLERS: dict[str, Handler] = {PURGES.name: list_purges, FORGET.name: forget}
