"""Workspaces: listed, counted, emptied, and memories moved between them."""

from __future__ import annotations

import pytest

from engine.catalogue.memory import MemoryCreate, MemoryDelete, MemoryGet
from engine.catalogue.workspace import WorkspaceDelete, WorkspaceList, WorkspaceMove, WorkspaceStats
from engine.protocol import Caller, ErrorCode, RemoteError, Request
from engine.store import memories, versions
from engine.store.database import Database
from engine.tools import memory, workspace

REQUEST = Request(id=1, method="", caller=Caller(key_id="key-1"))


def create(database: Database, name: str) -> int:
    with database.write_group():
        return create_in_group(database, name)


def create_in_group(database: Database, name: str) -> int:
    return memory.create(database, MemoryCreate(content="x", workspace=name), REQUEST).id


def move(database: Database, name: str, **fields: object) -> list[int]:
    with database.write_group():
        return workspace.move(database, WorkspaceMove(workspace=name, **fields), REQUEST).moved  # type: ignore[arg-type]


def delete(database: Database, name: str, **fields: object) -> tuple[int, int, int]:
    with database.write_group():
        done = workspace.delete(database, WorkspaceDelete(workspace=name, **fields), REQUEST)  # type: ignore[arg-type]
    return done.trashed, done.moved, done.remaining


def listed(database: Database) -> dict[str, tuple[int, int]]:
    found = workspace.list_workspaces(database, WorkspaceList(), REQUEST)
    assert found.found == len(found.workspaces)
    return {entry.workspace: (entry.memories, entry.trash) for entry in found.workspaces}


def test_the_fullest_workspace_comes_first(database: Database) -> None:
    for name in ("b", "a", "c", "c"):
        create(database, name)
    with database.write_group():
        memory.delete(database, MemoryDelete(id=create_in_group(database, "gone")), REQUEST)

    assert list(listed(database).items()) == [("c", (2, 0)), ("a", (1, 0)), ("b", (1, 0)), ("gone", (0, 1))]
    assert workspace.list_workspaces(database, WorkspaceList(limit=1), REQUEST).found == 4


def test_a_workspace_is_there_as_long_as_anything_is_in_it(database: Database) -> None:
    create(database, "w")
    counted = workspace.stats(database, WorkspaceStats(workspace="w"), REQUEST)
    delete(database, "w")
    emptied = workspace.stats(database, WorkspaceStats(workspace="w"), REQUEST)
    with pytest.raises(RemoteError) as error:
        workspace.stats(database, WorkspaceStats(workspace="none"), REQUEST)

    assert (counted.memories, counted.trash) == (1, 0)
    assert counted.first_created_at == counted.last_created_at == counted.updated_at is not None
    assert (emptied.memories, emptied.trash, emptied.updated_at) == (0, 1, None)
    assert error.value.code == ErrorCode.NOT_FOUND


def test_moving_is_a_change_like_any_other(database: Database) -> None:
    first, second, third = create(database, "a"), create(database, "b"), create(database, "b")

    assert move(database, "a", ids=[first, second, second]) == [second]
    assert move(database, "a", id=third) == [third]
    moved = memory.get(database, MemoryGet(id=second), REQUEST)
    assert (moved.workspace, moved.version) == ("a", 2)
    before = versions.get(database.connection, second, 1)
    assert before is not None
    assert before["workspace"] == "b"
    assert listed(database) == {"a": (3, 0)}


def test_all_are_moved_or_none(database: Database) -> None:
    first = create(database, "a")
    with pytest.raises(RemoteError) as error:
        move(database, "b", ids=[first, 99])

    assert error.value.code == ErrorCode.NOT_FOUND
    assert error.value.details["field"] == "ids[1]"
    assert listed(database) == {"a": (1, 0)}


@pytest.mark.parametrize("fields", [{}, {"id": 1, "ids": [1]}])
def test_either_one_or_many_are_named(database: Database, fields: dict[str, object]) -> None:
    create(database, "a")
    with pytest.raises(RemoteError) as error:
        move(database, "b", **fields)

    assert error.value.details == {"field": "ids"}


def test_a_deleted_workspace_lies_in_the_trash(database: Database) -> None:
    first = create(database, "a")
    create(database, "b")

    assert delete(database, "a", mode="trash") == (1, 0, 0)
    assert listed(database) == {"b": (1, 0), "a": (0, 1)}
    with database.write_group():
        memories.restore(database.connection, first, database.now())
    assert listed(database)["a"] == (1, 0)


def test_a_deleted_workspace_may_go_elsewhere(database: Database) -> None:
    create(database, "a")
    create(database, "a")

    assert delete(database, "a", move_to="b") == (0, 2, 0)
    assert listed(database) == {"b": (2, 0)}


def test_an_empty_workspace_is_not_there(database: Database) -> None:
    with pytest.raises(RemoteError) as error:
        delete(database, "a")

    assert error.value.code == ErrorCode.NOT_FOUND


@pytest.mark.parametrize(
    "fields", [{"mode": "trash", "move_to": "b"}, {"mode": "move_to"}, {"move_to": "a"}, {"mode": "move_to", "move_to": "a"}]
)
def test_what_to_do_with_the_memories_must_be_clear(database: Database, fields: dict[str, object]) -> None:
    create(database, "a")
    with pytest.raises(RemoteError) as error:
        delete(database, "a", **fields)

    assert error.value.details == {"field": "move_to"}
    assert listed(database) == {"a": (1, 0)}


@pytest.mark.parametrize(("fields", "emptied"), [({}, {"a": (0, 4)}), ({"move_to": "b"}, {"b": (4, 0)})])
def test_a_big_workspace_takes_several_calls(
    database: Database, monkeypatch: pytest.MonkeyPatch, fields: dict[str, object], emptied: dict[str, tuple[int, int]]
) -> None:
    monkeypatch.setattr(workspace, "TRASHED_MAX", 3)
    monkeypatch.setattr(workspace, "MOVED_MAX", 3)
    for _ in range(4):
        create(database, "a")

    assert delete(database, "a", **fields)[2] == 1
    assert sum(delete(database, "a", **fields)[:2]) == 1
    assert listed(database) == emptied
