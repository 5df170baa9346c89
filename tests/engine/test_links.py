"""Links in a tenant's database: set, reinforced, hidden with their ends, removed with them, followed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.catalogue.graph import MemoryFindPath, MemoryRelated, MemoryTraverse
from engine.catalogue.history import MemoryRestore
from engine.catalogue.links import LINKS_PER_MEMORY_MAX, Linked, MemoryLink, MemoryLinks, MemoryUnlink
from engine.catalogue.memory import MemoryCreate, MemoryDelete
from engine.protocol import Caller, ErrorCode, Limits, RemoteError, Request
from engine.store import links as store
from engine.store import statistics
from engine.store.connection import open_writer
from engine.store.database import Database
from engine.store.links import LinkRow
from engine.store.migration import MIGRATIONS, migrate
from engine.tools import graph as following
from engine.tools import history, links, memory

NOW = 1_790_000_000_000_000
DAY = 24 * 60 * 60 * 1_000_000
REQUEST = Request(id=1, method="")


class Graph:
    """A database with a clock that can be turned, and the tools under short names."""

    def __init__(self, path: Path) -> None:
        self.now = NOW
        self.database = Database(path, clock=lambda: self.now)

    def memory(self, content: str = "a memory", **fields: Any) -> int:
        with self.database.write_group():
            return memory.create(self.database, MemoryCreate(content=content, **fields), REQUEST).id

    def memories(self, count: int) -> list[int]:
        with self.database.write_group():
            made = [MemoryCreate(content=f"memory {number}") for number in range(count)]
            return [memory.create(self.database, each, REQUEST).id for each in made]

    def link(self, from_id: int, to_id: int, request: Request = REQUEST, **fields: Any) -> Linked:
        with self.database.write_group():
            return links.link(self.database, MemoryLink(from_id=from_id, to_id=to_id, **fields), request)

    def unlink(self, from_id: int, to_id: int, **fields: Any) -> None:
        with self.database.write_group():
            links.unlink(self.database, MemoryUnlink(from_id=from_id, to_id=to_id, **fields), REQUEST)

    def delete(self, memory_id: int, *, purge: bool = False) -> None:
        with self.database.write_group():
            memory.delete(self.database, MemoryDelete(id=memory_id, purge=purge), REQUEST)

    def restore(self, memory_id: int) -> None:
        with self.database.write_group():
            history.restore(self.database, MemoryRestore(id=memory_id), REQUEST)

    def related(self, memory_id: int, **fields: Any) -> list[int]:
        found = following.related(self.database, MemoryRelated(id=memory_id, **fields), REQUEST)
        return [entry.memory.id for entry in found.related]

    def path(self, from_id: int, to_id: int, **fields: Any) -> list[int]:
        return following.find_path(self.database, MemoryFindPath(from_id=from_id, to_id=to_id, **fields), REQUEST).path

    def listed(self, memory_id: int) -> list[tuple[int, int, str]]:
        found = links.list_links(self.database, MemoryLinks(id=memory_id), REQUEST)
        return [(link.from_id, link.to_id, link.edge_type) for link in found.links]

    def count(self, memory_id: int) -> int:
        return links.list_links(self.database, MemoryLinks(id=memory_id), REQUEST).total


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Graph]:
    opened = Graph(tmp_path / "memory.db")
    with opened.database:
        yield opened


def test_a_new_link_is_as_strong_and_certain_as_can_be(graph: Graph) -> None:
    first, second = graph.memories(2)
    linked = graph.link(first, second)

    assert (linked.strength, linked.confidence, linked.pinned) == (1.0, 1.0, False)
    assert (linked.edge_type, linked.source, linked.source_context) == ("related_to", "manual", None)
    assert linked.created_at == linked.reinforced_at
    assert linked.created


def test_linking_again_reinforces_and_changes_only_what_is_given(graph: Graph) -> None:
    first, second = graph.memories(2)
    created = graph.link(first, second, strength=0.5, confidence=0.8, source="llm", source_context="same place")
    graph.now += 30 * DAY
    faded = links.list_links(graph.database, MemoryLinks(id=first), REQUEST).links[0]
    again = graph.link(first, second, source_context=None)

    assert faded.confidence == pytest.approx(0.4)
    assert not again.created
    assert (again.strength, again.confidence, again.source, again.source_context) == (0.5, 0.8, "llm", None)
    assert again.created_at == created.created_at
    assert again.reinforced_at > created.reinforced_at
    assert graph.count(first) == 1


def test_links_of_other_types_and_the_way_back_are_links_of_their_own(graph: Graph) -> None:
    first, second = graph.memories(2)
    graph.link(first, second)
    graph.link(first, second, edge_type="blocks")
    graph.link(second, first)
    graph.unlink(first, second)

    assert graph.listed(first) == [(first, second, "blocks"), (second, first, "related_to")]


def test_confidence_fades_at_reading_and_a_pinned_one_does_not(graph: Graph) -> None:
    first, second, third = graph.memories(3)
    graph.link(first, second)
    graph.link(first, third, pinned=True, confidence=0.6, strength=0.9)
    graph.now += 60 * DAY

    shown = links.list_links(graph.database, MemoryLinks(id=first), REQUEST).links
    assert [(link.to_id, link.confidence) for link in shown] == [(third, 0.6), (second, 0.25)]
    found = following.traverse(graph.database, MemoryTraverse(id=first, min_confidence=0.3), REQUEST)
    assert [node.id for node in found.nodes] == [first, third]


@pytest.mark.parametrize("field", ["from_id", "to_id"])
@pytest.mark.parametrize("why", ["never there", "deleted", "expired"])
def test_an_end_that_cannot_be_seen_is_named(graph: Graph, field: str, why: str) -> None:
    here = graph.memory("here")
    gone = 999 if why == "never there" else graph.memory("gone", tier="daily", ttl_seconds=60)
    if why == "deleted":
        graph.delete(gone)
    graph.now += 60 * 1_000_000 if why == "expired" else 0
    ends = {"from_id": here, "to_id": here} | {field: gone}

    for call in (graph.link, graph.unlink, graph.path):
        with pytest.raises(RemoteError) as error:
            call(**ends)
        assert error.value.code == ErrorCode.NOT_FOUND
        assert error.value.details == {"field": field}


def test_a_memory_is_not_linked_with_itself(graph: Graph) -> None:
    only = graph.memory()
    with pytest.raises(RemoteError) as error:
        graph.link(only, only)

    assert (error.value.code, error.value.details["field"]) == (ErrorCode.INVALID, "to_id")


def test_a_time_that_ends_before_it_begins_is_refused_also_when_half_of_it_was_there(graph: Graph) -> None:
    first, second = graph.memories(2)
    graph.link(first, second, valid_from=datetime(2026, 5, 1, tzinfo=UTC))
    with pytest.raises(RemoteError) as error:
        graph.link(first, second, valid_to=datetime(2026, 5, 1, tzinfo=UTC))

    assert (error.value.code, error.value.details["field"]) == (ErrorCode.INVALID, "valid_to")


def test_a_link_is_followed_from_the_moment_it_holds_until_the_moment_it_ends(graph: Graph) -> None:
    first, second = graph.memories(2)
    start = datetime.fromtimestamp(NOW / 1_000_000, UTC)
    graph.link(first, second, valid_from=start + timedelta(days=1), valid_to=start + timedelta(days=2))

    followed = []
    for at in (0, DAY - 1, DAY, 2 * DAY - 1, 2 * DAY):
        graph.now = NOW + at
        followed.append(bool(graph.related(first)) and bool(graph.path(second, first)))

    assert followed == [False, False, True, True, False]
    assert graph.count(first) == 1


def test_removing_what_is_not_there_says_which_link(graph: Graph) -> None:
    first, second = graph.memories(2)
    graph.link(first, second)
    with pytest.raises(RemoteError, match="blocks") as error:
        graph.unlink(first, second, edge_type="blocks")

    assert (error.value.code, error.value.details["field"]) == (ErrorCode.NOT_FOUND, "edge_type")
    assert graph.count(first) == 1


def test_a_link_hides_with_its_end_comes_back_with_it_and_is_erased_with_it(graph: Graph) -> None:
    first, middle, last = graph.memories(3)
    graph.link(first, middle)
    graph.link(middle, last)
    graph.delete(middle)

    assert graph.related(first, depth=2) == []
    assert graph.path(first, last) == []
    assert graph.count(last) == 0

    graph.restore(middle)
    assert graph.related(first, depth=2) == [middle, last]

    graph.delete(middle, purge=True)
    assert graph.database.connection.execute("SELECT count(*) FROM links").get == 0


def test_a_memory_that_expires_takes_its_links_along(graph: Graph) -> None:
    first = graph.memory()
    graph.link(first, graph.memory("for a minute", tier="daily", ttl_seconds=60))
    graph.now += 60 * 1_000_000
    assert graph.count(first) == 0

    graph.memory("the next write erases")
    assert graph.database.connection.execute("SELECT count(*) FROM links").get == 0


@pytest.mark.parametrize("side", ["from_id", "to_id"])
def test_links_of_a_memory_are_bounded_on_both_sides(graph: Graph, side: str) -> None:
    hub, *others = graph.memories(LINKS_PER_MEMORY_MAX + 2)
    with graph.database.write_group():
        for number, other in enumerate(others[:-1]):
            ends = (hub, other) if number % 2 else (other, hub)
            store.insert(graph.database.connection, row(*ends))
    ends = {"from_id": others[-1], "to_id": others[-1]} | {side: hub}
    with pytest.raises(RemoteError) as error:
        graph.link(**ends)

    assert error.value.code == ErrorCode.INVALID
    assert error.value.details == {"field": side, "limit": LINKS_PER_MEMORY_MAX}
    assert graph.count(others[-1]) == 0
    assert not graph.link(hub, others[1]).created  # one that is there can still be reinforced


def test_links_count_towards_the_storage(graph: Graph) -> None:
    first, second = graph.memories(2)
    full = statistics.storage_bytes(graph.database.connection)
    limited = Request(id=1, method="", caller=Caller(limits=Limits(storage_bytes=full - 1)))
    with pytest.raises(RemoteError) as error:
        graph.link(first, second, limited)

    assert (error.value.code, error.value.details["metric"]) == (ErrorCode.QUOTA_EXCEEDED, "storage")
    assert graph.count(first) == 0
    graph.link(first, second)
    assert not graph.link(first, second, limited, pinned=True).created


def test_a_cycle_ends(graph: Graph) -> None:
    ring = graph.memories(4)
    for at, memory_id in enumerate(ring):
        graph.link(memory_id, ring[(at + 1) % 4])

    assert graph.related(ring[0], depth=8, direction="outgoing") == ring[1:]
    assert graph.path(ring[0], ring[3]) == [ring[0], ring[3]]
    assert graph.path(ring[0], ring[3], direction="outgoing") == ring
    assert graph.path(ring[0], ring[3], direction="outgoing", max_depth=2) == []


def test_only_links_of_the_types_asked_for_are_followed(graph: Graph) -> None:
    first, second, third = graph.memories(3)
    graph.link(first, second, edge_type="depends_on")
    graph.link(second, third, edge_type="blocks")

    assert graph.related(first, depth=2, edge_type="depends_on") == [second]
    assert graph.path(first, third, edge_types=["depends_on"]) == []
    assert graph.path(first, third, edge_types=["depends_on", "blocks"]) == [first, second, third]
    found = following.traverse(graph.database, MemoryTraverse(id=second, edge_types=["blocks"]), REQUEST)
    assert [(node.id, node.depth) for node in found.nodes] == [(second, 0), (third, 1)]


def test_a_traversal_shows_memories_in_short(graph: Graph) -> None:
    long = "word " * 100
    start = graph.memory("x" * 200, tags=["a/b"], type="decision", workspace="office")
    graph.link(start, graph.memory(long))
    found = following.traverse(graph.database, MemoryTraverse(id=start), REQUEST)

    assert (found.nodes[0].excerpt, found.nodes[0].tags) == ("x" * 160, ["a/b"])
    assert (found.nodes[0].type, found.nodes[0].workspace) == ("decision", "office")
    assert found.nodes[1].excerpt == long[:159]
    assert [(edge.from_id, edge.to_id) for edge in found.edges] == [(start, found.nodes[1].id)]


def test_what_an_import_brings_is_inserted_once_and_read_back_whole(graph: Graph) -> None:
    first, second = graph.memories(2)
    given = row(first, second)._replace(
        strength=0.25, confidence=0.5, pinned=True, source="auto", source_context="import", valid_from=1, valid_to=2
    )
    with graph.database.write_group():
        assert store.insert(graph.database.connection, given)
        assert not store.insert(graph.database.connection, given._replace(strength=1.0))

    assert store.get(graph.database.connection, first, second, "related_to") == given


def test_the_database_itself_refuses_a_link_to_nothing(graph: Graph) -> None:
    with pytest.raises(apsw.ConstraintError):
        store.insert(graph.database.connection, row(graph.memory(), 999))


def test_memories_from_before_there_were_links_can_be_linked(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    connection = open_writer(path)
    migrate(connection, MIGRATIONS[:1])
    for content in ("old", "older"):
        connection.execute(
            "INSERT INTO memories (content, content_hash, type, tags, metadata, importance, workspace, scope_type, tier,"
            " version, created_at, updated_at)"
            " VALUES (?, '', 'note', '[]', '{}', 0.5, 'default', 'global', 'permanent', 1, 0, 0)",
            (content,),
        )
    connection.close()

    graph = Graph(path)
    with graph.database:
        assert graph.link(1, 2).created
        assert graph.related(2) == [1]


def row(from_id: int, to_id: int) -> LinkRow:
    return LinkRow(
        from_id=from_id,
        to_id=to_id,
        type="related_to",
        strength=1.0,
        confidence=1.0,
        pinned=False,
        source="manual",
        source_context=None,
        valid_from=None,
        valid_to=None,
        created_at=NOW,
        reinforced_at=NOW,
    )


MEMORIES = 5
ends = st.integers(0, MEMORIES - 1)
types = st.sampled_from(["related_to", "blocks"])
actions = st.lists(
    st.tuples(st.sampled_from(["link", "link", "link", "unlink", "delete", "restore"]), ends, ends, types), max_size=25
)


@settings(max_examples=60, deadline=None)
@given(actions)
def test_any_story_leaves_the_links_that_a_plain_set_would_have(story: list[tuple[str, int, int, str]]) -> None:
    with TemporaryDirectory() as folder:
        graph = Graph(Path(folder) / "memory.db")
        with graph.database:
            ids = graph.memories(MEMORIES)
            there, trash = set[tuple[int, int, str]](), set[int]()
            for action, first, second, edge_type in story:
                from_id, to_id = ids[first], ids[second]
                key = (from_id, to_id, edge_type)
                seen = not {from_id, to_id} & trash
                if action == "link" and seen and from_id != to_id:
                    assert graph.link(from_id, to_id, edge_type=edge_type).created is (key not in there)
                    there.add(key)
                elif action == "unlink" and seen and key in there:
                    graph.unlink(from_id, to_id, edge_type=edge_type)
                    there.remove(key)
                elif action == "delete" and from_id not in trash:
                    graph.delete(from_id)
                    trash.add(from_id)
                elif action == "restore" and from_id in trash:
                    graph.restore(from_id)
                    trash.remove(from_id)

            visible = {key for key in there if not set(key[:2]) & trash}
            for memory_id in set(ids) - trash:
                own = [key for key in visible if memory_id in key[:2]]
                assert graph.listed(memory_id) == sorted(own)
                assert graph.related(memory_id) == sorted({end for key in own for end in key[:2]} - {memory_id})
