"""Setting, removing and listing links."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from engine.catalogue.links import (
    LINK,
    LINKS,
    UNLINK,
    Linked,
    LinkList,
    MemoryLink,
    MemoryLinks,
    MemoryUnlink,
    Unlinked,
)
from engine.protocol import ErrorCode, RemoteError, Request
from engine.protocol.errors import invalid
from engine.protocol.moment import from_datetime
from engine.store import links
from engine.store.database import Database
from engine.store.links import LinkRow
from engine.tools.handler import Handler


def link(database: Database, arguments: MemoryLink, request: Request) -> Linked:
    """Set a link, or reinforce the one that is there: its half-life begins anew."""
    connection, now = database.connection, database.now()
    if arguments.from_id == arguments.to_id:
        raise invalid("to_id", "a memory can't be linked with itself")
    for field in ("from_id", "to_id"):
        links.check_end(connection, getattr(arguments, field), now, field)
    before = links.get(connection, arguments.from_id, arguments.to_id, arguments.edge_type)
    row = (before or _new(arguments, now))._replace(reinforced_at=now, **_said(arguments))
    if row.valid_from is not None and row.valid_to is not None and row.valid_from >= row.valid_to:
        raise invalid("valid_to", "must be later than valid_from")
    if before is None:
        links.insert(connection, row)
    else:
        links.replace(connection, row)
    if before is None or row.source_context != before.source_context:
        database.check_limits(request.caller.limits)
    return Linked(**links.described(row, now), created=before is None)


def unlink(database: Database, arguments: MemoryUnlink, request: Request) -> Unlinked:
    """Remove one link; ``not_found`` when there is none between these two that could be seen."""
    connection, now = database.connection, database.now()
    for field in ("from_id", "to_id"):
        links.check_end(connection, getattr(arguments, field), now, field)
    if not links.remove(connection, arguments.from_id, arguments.to_id, arguments.edge_type):
        message = f"there is no link {arguments.edge_type} from {arguments.from_id} to {arguments.to_id}"
        raise RemoteError(ErrorCode.NOT_FOUND, message, field="edge_type")
    return Unlinked(from_id=arguments.from_id, to_id=arguments.to_id, edge_type=arguments.edge_type)


def list_links(database: Database, arguments: MemoryLinks, request: Request) -> LinkList:
    """Return a memory's links, valid or not, strongest first."""
    connection, now = database.connection, database.now()
    links.check_end(connection, arguments.id, now, "id")
    edge_types = [] if arguments.edge_type is None else [arguments.edge_type]
    rows = links.of_memory(connection, arguments.id, now, direction=arguments.direction, edge_types=edge_types)
    shown = sorted((links.as_link(row, now) for row in rows), key=lambda shown: -shown.strength * shown.confidence)
    return LinkList(links=shown[: arguments.limit], total=len(shown))


def _new(arguments: MemoryLink, now: int) -> LinkRow:
    """Return a link of which nothing has been said: as strong and as certain as can be, because somebody cared to set it."""
    return LinkRow(
        from_id=arguments.from_id,
        to_id=arguments.to_id,
        type=arguments.edge_type,
        strength=1.0,
        confidence=1.0,
        pinned=False,
        source="manual",
        source_context=None,
        valid_from=None,
        valid_to=None,
        created_at=now,
        reinforced_at=now,
    )


def _said(arguments: MemoryLink) -> dict[str, Any]:
    """Return the columns that the arguments give."""
    names = ("strength", "confidence", "pinned", "source", "source_context")
    said = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not UNSET}
    for name, moment in (("valid_from", arguments.valid_from), ("valid_to", arguments.valid_to)):
        if moment is not UNSET:
            said[name] = None if moment is None else from_datetime(moment)
    return said


HANDLERS: dict[str, Handler] = {LINK.name: link, UNLINK.name: unlink, LINKS.name: list_links}
