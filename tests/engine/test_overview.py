"""Counts, tags and activity, against what was really done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.catalogue.activity import Activity, RecentActivity
from engine.catalogue.memory import MemoryCreate, MemoryDelete, MemoryUpdate, Scope
from engine.catalogue.statistics import MemoryStats
from engine.catalogue.tag import MemoryTags, TagCount
from engine.protocol import Caller, Request
from engine.store.database import Database
from engine.tools import activity, memory, statistics, tag
from tests.engine.conftest import Clock

HOUR = 3_600_000_000
REQUEST = Request(id=1, method="", caller=Caller(key_id="key-1"))


@pytest.fixture
def database(tmp_path: Path, clock: Clock) -> Iterator[Database]:
    with Database(tmp_path / "memory.db", clock=clock) as opened:
        yield opened


def create(database: Database, content: str = "x", **fields: object) -> int:
    with database.write_group():
        return memory.create(database, MemoryCreate(content=content, **fields), REQUEST).id  # type: ignore[arg-type]


def change(database: Database, memory_id: int, **fields: object) -> None:
    with database.write_group():
        memory.update(database, MemoryUpdate(id=memory_id, **fields), REQUEST)  # type: ignore[arg-type]


def delete(database: Database, memory_id: int) -> None:
    with database.write_group():
        memory.delete(database, MemoryDelete(id=memory_id), REQUEST)


def tags(database: Database, **fields: object) -> dict[str, tuple[int, int]]:
    found = tag.list_tags(database, MemoryTags(**fields), REQUEST)  # type: ignore[arg-type]
    return {entry.tag: (entry.count, entry.total) for entry in found.tags}


def events(database: Database, **fields: object) -> list[tuple[str, int, int]]:
    found = recent(database, **fields)
    return [(event.what, event.id, event.version) for event in found.events]


def recent(database: Database, **fields: object) -> Activity:
    return activity.recent(database, RecentActivity(**fields), REQUEST)  # type: ignore[arg-type]


def test_statistics_count_by_everything_and_leave_the_trash_apart(database: Database) -> None:
    create(database, type="todo", tags=["a"], workspace="w1")
    create(database, tags=["a", "b"], scope=Scope("user", "ana"))
    create(database, tier="daily")
    delete(database, create(database, tags=["c"], workspace="w2"))
    counted = statistics.stats(database, MemoryStats(), REQUEST)

    assert (counted.memories, counted.trash) == (3, 1)
    assert counted.by_type == {"note": 2, "todo": 1}
    assert counted.by_tier == {"permanent": 2, "daily": 1}
    assert counted.by_scope == {"global": 2, "user": 1}
    assert counted.by_workspace == {"default": 2, "w1": 1}
    assert counted.by_tag == {"a": 2, "b": 1}
    assert counted.pending_embeddings == 3


def test_statistics_of_one_workspace(database: Database) -> None:
    create(database, workspace="w1", tags=["a"])
    create(database, tags=["b"])
    delete(database, create(database, workspace="w1"))
    counted = statistics.stats(database, MemoryStats(workspace="w1"), REQUEST)

    assert (counted.memories, counted.trash, counted.by_workspace, counted.by_tag) == (1, 1, {"w1": 1}, {"a": 1})
    assert statistics.stats(database, MemoryStats(workspace="none"), REQUEST).memories == 0


def test_the_expired_is_counted_nowhere(database: Database, clock: Clock) -> None:
    create(database, tier="daily", ttl_seconds=60, tags=["a"], workspace="w1")
    clock.now += 60_000_000

    assert statistics.stats(database, MemoryStats(), REQUEST).by_workspace == {}
    assert tags(database) == {}
    assert events(database) == []


def test_a_tag_counts_what_is_below_it_once_for_each_memory(database: Database) -> None:
    create(database, tags=["project/red", "project/blue", "urgent"])
    create(database, tags=["project/red/deep"])
    create(database, tags=["project"])
    create(database, tags=["projects", "project0"])

    assert tags(database) == {
        "project": (1, 3),
        "project/red": (1, 2),
        "project/blue": (1, 1),
        "project/red/deep": (1, 1),
        "project0": (1, 1),
        "projects": (1, 1),
        "urgent": (1, 1),
    }
    assert tags(database, prefix="project/red") == {"project/red": (1, 2), "project/red/deep": (1, 1)}
    assert tags(database, prefix="proj") == {}


def test_tags_are_of_a_workspace_and_at_most_as_many_as_asked_for(database: Database) -> None:
    create(database, tags=["a", "b"], workspace="w1")
    create(database, tags=["a", "c"])
    found = tag.list_tags(database, MemoryTags(limit=1), REQUEST)

    assert tags(database, workspace="w1") == {"a": (1, 1), "b": (1, 1)}
    assert found.tags == [TagCount(tag="a", count=2, total=2)]
    assert found.truncated


def test_the_tags_of_what_is_staged_are_seen_when_it_is_revealed(database: Database) -> None:
    create(database, tags=["a/b"])
    database.connection.execute("INSERT INTO imports (id, created_at) VALUES (7, 0)")
    database.connection.execute("UPDATE memories SET import_id = 7")
    staged = tags(database), statistics.stats(database, MemoryStats(), REQUEST).by_tag
    database.connection.execute("UPDATE imports SET revealed_at = 1")

    assert staged == ({}, {})
    assert tags(database) == {"a": (0, 1), "a/b": (1, 1)}


def test_deep_hierarchies_are_counted_at_their_top(database: Database) -> None:
    create(database, tags=["/".join("abcdefghijkl")])

    assert list(tags(database)) == [*("/".join("abcdefgh"[:end]) for end in range(1, 9)), "/".join("abcdefghijkl")]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.text("ab/0", min_size=1, max_size=6), max_size=4), max_size=5))
def test_tags_agree_with_counting_by_hand(database: Database, drawn: list[list[str]]) -> None:
    database.connection.execute("DELETE FROM memories")
    for given_tags in drawn:
        create(database, tags=given_tags)
    counted = tags(database)

    names = {name for given_tags in drawn for name in given_tags}
    names |= {name[:end] for name in names for end in range(1, len(name)) if name[end] == "/"}
    assert counted == {
        name: (
            sum(name in given_tags for given_tags in drawn),
            sum(any(other == name or other.startswith(f"{name}/") for other in given_tags) for given_tags in drawn),
        )
        for name in names
    }


def test_activity_tells_every_version_and_the_deletion(database: Database, clock: Clock) -> None:
    first = create(database, "one")
    clock.now += 1
    second = create(database, "two", workspace="w1")
    clock.now += 1
    change(database, first, content="one, changed", change_summary="It was wrong")
    clock.now += 1
    delete(database, second)
    found = recent(database)

    assert events(database) == [
        ("deleted", second, 1),
        ("updated", first, 2),
        ("created", second, 1),
        ("created", first, 1),
    ]
    assert [event.excerpt for event in found.events] == ["two", "one, changed", "two", "one"]
    assert [event.by for event in found.events] == ["key-1"] * 4
    assert found.events[1].summary == "It was wrong"
    assert events(database, workspace="w1") == [("deleted", second, 1), ("created", second, 1)]


def test_activity_ends_where_the_timeframe_begins(database: Database, clock: Clock) -> None:
    old = create(database, "old")
    clock.now += 25 * HOUR
    change(database, old, content="old, but changed")
    create(database, "new")

    assert events(database) == [("created", 2, 1), ("updated", old, 2)]
    assert events(database, timeframe="2d") == [("created", 2, 1), ("updated", old, 2), ("created", old, 1)]
    assert not recent(database, limit=2).truncated
    assert recent(database, limit=1).truncated


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(["create", "change", "delete"]), st.integers(0, 4), st.integers(0, 2)), max_size=12),
    st.integers(1, 6),
)
def test_activity_agrees_with_a_log(database: Database, clock: Clock, steps: list[tuple[str, int, int]], limit: int) -> None:
    """Whatever happened in whatever order, also at the same moment, the newest events are those a log would end with."""
    database.connection.execute("DELETE FROM memories")
    log: list[tuple[int, int, int, bool, str]] = []
    versions: dict[int, int] = {}
    for number, (step, which, pause) in enumerate(steps):
        clock.now += pause
        living = sorted(versions)
        if step == "create" or not living:
            made = create(database, f"text {number}")
            versions[made] = 1
            log.append((clock.now, made, 1, False, "created"))
            continue
        chosen = living[which % len(living)]
        if step == "change":
            change(database, chosen, content=f"text {number}")
            versions[chosen] += 1
            log.append((clock.now, chosen, versions[chosen], False, "updated"))
        else:
            delete(database, chosen)
            log.append((clock.now, chosen, versions.pop(chosen), True, "deleted"))

    expected = [(what, memory_id, version) for _, memory_id, version, _, what in sorted(log, reverse=True)]
    assert events(database, limit=limit) == expected[:limit]
