"""Workspaces: listed, counted, and their memories moved or deleted."""

from __future__ import annotations

import time

from engine.catalogue.memory import MemoryUpdate
from engine.catalogue.workspace import (
    DELETE,
    LIST,
    MOVE,
    MOVED_MAX,
    STATS,
    TRASHED_MAX,
    Moved,
    WorkspaceCounts,
    WorkspaceDelete,
    WorkspaceDeleted,
    WorkspaceList,
    WorkspaceMove,
    Workspaces,
    WorkspaceStats,
)
from engine.protocol import ErrorCode, RemoteError, Request
from engine.protocol.errors import invalid
from engine.store import memories, statistics, workspaces
from engine.store.database import Database
from engine.tools import memory
from engine.tools.bounds import within
from engine.tools.handler import Handler

PIECE_S = 1.0
"""After so long, a call that may stop lets the requests behind it go on: words of long memories take 60 ms each to move."""


def list_workspaces(database: Database, arguments: WorkspaceList, request: Request) -> Workspaces:
    """List the workspaces that hold anything."""
    listed, found = workspaces.listed(database.connection, arguments.limit, database.now())
    return Workspaces(workspaces=listed, found=found)


def stats(database: Database, arguments: WorkspaceStats, request: Request) -> WorkspaceCounts:
    """Count what one workspace holds; ``not_found`` when there is nothing."""
    now = database.now()
    counted = statistics.tally(database.connection, arguments.workspace, now)
    if not counted.memories and not counted.trash:
        raise _not_found()
    fields = counted._asdict()
    del fields["by_workspace"]
    times = workspaces.times(database.connection, arguments.workspace, now)
    return WorkspaceCounts(workspace=arguments.workspace, **times._asdict(), **fields)


def move(database: Database, arguments: WorkspaceMove, request: Request) -> Moved:
    """Move memories, each as a new version; ``not_found`` names the first that is not there, and none is moved."""
    if (arguments.id is None) == (not arguments.ids):
        raise invalid("ids", "give either id or ids")
    named = [("id", arguments.id)] if arguments.id is not None else _numbered(arguments.ids)
    moved = []
    for field, memory_id in named:
        database.check_deadline()
        with within(field):
            before = memories.get(database.connection, memory_id, database.now())
            if before.workspace != arguments.workspace:
                _move_one(database, memory_id, arguments.workspace, request)
                moved.append(memory_id)
    database.check_limits(request.caller.limits)
    return Moved(workspace=arguments.workspace, moved=moved)


def delete(database: Database, arguments: WorkspaceDelete, request: Request) -> WorkspaceDeleted:
    """Empty a workspace, at most so many memories a call; ``not_found`` when there is nothing in it."""
    target = _target(arguments)
    most = TRASHED_MAX if target is None else MOVED_MAX
    ids = workspaces.ids(database.connection, arguments.workspace, most, database.now())
    if not ids:
        raise _not_found()
    done = 0
    give_way_at = time.monotonic() + PIECE_S
    for memory_id in ids:
        if target is None:
            memory.trash(database, memory_id, request)
        else:
            _move_one(database, memory_id, target, request)
        done += 1
        if time.monotonic() > give_way_at:
            break
    if target is not None:
        database.check_limits(request.caller.limits)
    return WorkspaceDeleted(
        workspace=arguments.workspace,
        trashed=0 if target is not None else done,
        moved=done if target is not None else 0,
        remaining=workspaces.count(database.connection, arguments.workspace, database.now()),
    )


def _target(arguments: WorkspaceDelete) -> str | None:
    """Return where to move the memories, or ``None`` for the trash."""
    mode = arguments.mode or ("trash" if arguments.move_to is None else "move_to")
    if mode == "trash" and arguments.move_to is not None:
        raise invalid("move_to", "the mode trash moves nothing")
    if mode == "move_to" and arguments.move_to is None:
        raise invalid("move_to", "say where the memories should go")
    if arguments.move_to == arguments.workspace:
        raise invalid("move_to", "must be another workspace")
    return arguments.move_to


def _move_one(database: Database, memory_id: int, workspace: str, request: Request) -> None:
    changes = MemoryUpdate(id=memory_id, workspace=workspace)
    memory.update_one(database, changes, None, request)


def _numbered(ids: list[int]) -> list[tuple[str, int]]:
    return [(f"ids[{number}]", memory_id) for number, memory_id in enumerate(ids)]


def _not_found() -> RemoteError:
    return RemoteError(ErrorCode.NOT_FOUND, "there is no such workspace, or nothing in it")


HANDLERS: dict[str, Handler] = {
    LIST.name: list_workspaces,
    STATS.name: stats,
    MOVE.name: move,
    DELETE.name: delete,
}
