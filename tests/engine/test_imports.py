"""An import lies unseen until it is revealed, whatever happens; afterwards nothing of it is left but its memories."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.catalogue.export_file import Entry, EntryExtras
from engine.catalogue.memory import MemoryCreate, MemoryDelete, MemoryGet
from engine.catalogue.search import MemorySearch
from engine.catalogue.statistics import MemoryStats
from engine.catalogue.transfer import ExportFile, ImportNamed, MemoryExport
from engine.protocol import Caller, ErrorCode, Limits, RemoteError, Request
from engine.store import imports, memories
from engine.store.database import Database
from engine.tools import export, import_steps, memory, search, statistics
from tests.engine.importing import REQUEST, begin, bring, commit, end, entry, rows, stage, stored, write

NOW = 1_790_000_000_000_000
HOUR = 3600 * 1_000_000


@pytest.fixture
def clock() -> list[int]:
    return [NOW]


@pytest.fixture
def database(tmp_path: Path, clock: list[int]) -> Iterator[Database]:
    with Database(tmp_path / "memory.db", clock=lambda: clock[0]) as opened:
        yield opened


def create(database: Database, content: str, **fields: object) -> int:
    with write(database):
        return memory.create(database, MemoryCreate(content=content, **fields), REQUEST).id  # type: ignore[arg-type]


def delete(database: Database, memory_id: int, *, purge: bool = False) -> None:
    with write(database):
        memory.delete(database, MemoryDelete(id=memory_id, purge=purge), REQUEST)


def tidy(database: Database) -> None:
    """Write until no import has anything left to do."""
    while rows(database, "imports"):
        before = database.connection.total_changes()
        with database.write_group():
            pass
        assert database.connection.total_changes() > before, "it does not come to an end"


def test_what_is_staged_is_seen_by_no_read(database: Database) -> None:
    create(database, "here before")
    stage(database, begin(database), *(entry(number, tags=["t"]) for number in range(10, 30)))

    assert stored(database) == {1: "here before"}
    assert search.search(database, MemorySearch(query="entry 12", mode="keyword"), REQUEST).results == []
    with pytest.raises(RemoteError):
        memory.get(database, MemoryGet(id=12), REQUEST)
    with pytest.raises(RemoteError):
        delete(database, 12)
    counts = statistics.stats(database, MemoryStats(), REQUEST)
    assert (counts.memories, counts.by_tag, counts.pending_embeddings) == (1, {}, 1)
    assert memories.count(database.connection, NOW) == 1
    assert export.inline(database, MemoryExport(), REQUEST).memory_count == 1


def test_the_reveal_shows_all_of_it_at_once(database: Database) -> None:
    import_id = begin(database)
    stage(database, import_id, *(entry(number, tags=["t"]) for number in range(1, 31)))
    committed = commit(database, import_id)

    assert (committed.imported, committed.skipped) == (30, 0)
    assert len(stored(database)) == 30
    assert memories.count(database.connection, NOW) == 30
    assert search.search(database, MemorySearch(query="entry 12", mode="keyword"), REQUEST).results[0].memory.id == 12
    assert commit(database, import_id) == committed, "a commit whose answer was lost may be sent again"
    assert memories.count(database.connection, NOW) == 30


def test_a_batch_may_come_again_and_none_may_be_left_out(database: Database) -> None:
    import_id = begin(database)
    batch = [entry(1), entry(1, "another of that id"), entry(2)]
    assert stage(database, import_id, *batch).next == 3
    assert stage(database, import_id, *batch).next == 3
    assert stage(database, import_id, entry(2), entry(3), first=2).next == 4
    with pytest.raises(RemoteError, match="entries from 4 on are missing"):
        stage(database, import_id, entry(9), first=5)

    assert commit(database, import_id).imported == 4
    assert sorted(stored(database).values()) == ["another of that id", "entry 1", "entry 2", "entry 3"]


def test_a_batch_takes_one_entry_when_there_is_no_time(database: Database) -> None:
    import_id = begin(database)
    batch = [entry(number) for number in range(1, 4)]
    places = [stage(database, import_id, *batch[first:], first=first, budget_ms=0).next for first in range(3)]

    assert places == [1, 2, 3]


def test_a_bad_entry_takes_its_batch_with_it(database: Database) -> None:
    import_id = begin(database)
    stage(database, import_id, entry(1))
    with pytest.raises(RemoteError) as error:
        stage(database, import_id, entry(2), entry(3, " \n"), first=1)

    assert error.value.details == {"field": "memories[2].content", "entry": 2, "id": 3}
    assert stage(database, import_id, entry(4), first=1).next == 2, "the import may go on"


def test_the_limit_is_exact_at_the_reveal(database: Database) -> None:
    create(database, "here before")
    import_id = begin(database)
    stage(database, import_id, *(entry(number) for number in range(10, 14)))
    with pytest.raises(RemoteError) as error:
        commit(database, import_id, Request(id=1, method="", caller=Caller(limits=Limits(memories=4))))

    assert error.value.code == ErrorCode.QUOTA_EXCEEDED
    assert error.value.details == {"metric": "memories", "current": 1, "limit": 4}
    assert stored(database) == {1: "here before"}
    enough = Request(id=1, method="", caller=Caller(limits=Limits(memories=5)))
    assert commit(database, import_id, enough).imported == 4


def test_an_import_given_up_is_erased_and_its_ids_are_free_at_once(database: Database) -> None:
    given_up = begin(database)
    stage(database, given_up, *(entry(number, "first try") for number in range(1, 41)))
    end(database, given_up)
    with pytest.raises(RemoteError, match="there is no such import"):
        stage(database, given_up, entry(41), first=40)
    with pytest.raises(RemoteError, match="there is no such import"):
        commit(database, given_up)
    again = begin(database)
    stage(database, again, *(entry(number, "second try") for number in range(1, 41)))
    commit(database, again)
    end(database, again)
    tidy(database)

    assert stored(database) == dict.fromkeys(range(1, 41), "second try")
    assert memories.count(database.connection, NOW) == 40
    assert rows(database, "memories") == 40
    assert rows(database, "import_ids") == 0
    assert search.search(database, MemorySearch(query="first", mode="keyword"), REQUEST).results == []


def test_erasing_is_done_in_small_pieces(database: Database) -> None:
    import_id = begin(database)
    stage(database, import_id, *(entry(number) for number in range(1, 101)))
    end(database, import_id)
    before = rows(database, "memories")
    with database.write_group():
        pass

    assert before - rows(database, "memories") <= imports.ERASED_AT_ONCE_MAX


def test_an_import_of_which_nothing_is_heard_for_an_hour_is_given_up(database: Database, clock: list[int]) -> None:
    import_id = begin(database)
    stage(database, import_id, entry(1))
    clock[0] += HOUR - 1
    stage(database, import_id, entry(2), first=1)
    clock[0] += HOUR - 1
    assert imports.next_due(database.connection) == clock[0] + 1
    stage(database, import_id, entry(3), first=2)
    clock[0] += HOUR
    with pytest.raises(RemoteError, match="there is no such import"):
        stage(database, import_id, entry(4), first=3)
    tidy(database)

    assert rows(database, "memories") == 0
    assert imports.next_due(database.connection) is None


def test_after_the_reveal_the_marks_go_and_the_memories_stay(database: Database) -> None:
    import_id = begin(database)
    stage(database, import_id, *(entry(number) for number in range(1, 251)))
    commit(database, import_id)
    delete(database, 1)
    delete(database, 250, purge=True)
    assert memories.count(database.connection, NOW) == 249, "the trash counts, what is erased does not"
    end(database, import_id)
    tidy(database)

    assert rows(database, "memories WHERE import_id IS NOT NULL") == 0
    assert rows(database, "import_ids") == 0
    assert len(stored(database)) == 248
    assert memories.count(database.connection, NOW) == 249


def test_what_lies_in_the_trash_is_brought_back_at_the_reveal_and_not_before(database: Database) -> None:
    entries = [entry(number) for number in range(1, 301)]
    bring(database, *entries)
    for number in range(1, 301):
        delete(database, number)
    import_id = begin(database)
    stage(database, import_id, *entries)
    assert stored(database) == {}

    committed = commit(database, import_id)
    assert (committed.imported, committed.skipped) == (300, 0)
    done = False
    while not done:
        with write(database):
            done = import_steps.settle(database, ImportNamed(import_id=import_id), REQUEST).done
    assert len(stored(database)) == 300
    assert memories.count(database.connection, NOW) == 300


def test_a_restoring_that_was_interrupted_is_carried_on(database: Database) -> None:
    entries = [entry(number) for number in range(1, 301)]
    bring(database, *entries)
    for number in range(1, 301):
        delete(database, number)
    import_id = begin(database)
    stage(database, import_id, *entries)
    commit(database, import_id)
    end(database, import_id)
    tidy(database)

    assert len(stored(database)) == 300


def test_a_purged_memorys_id_is_not_given_out_again(database: Database) -> None:
    gone = create(database, "to be forgotten")
    delete(database, gone, purge=True)
    bring(database, entry(gone, "to be forgotten"))

    (ours,) = stored(database)
    assert ours != gone


def test_an_entry_whose_time_is_over_is_skipped(database: Database) -> None:
    past = datetime.fromtimestamp(NOW / 1_000_000, UTC) - timedelta(seconds=1)
    committed = bring(database, entry(1, tier="daily", engram_cloud=EntryExtras(expires_at=past)), entry(2))

    assert (committed.imported, committed.skipped) == (1, 1)
    assert list(stored(database)) == [2]


def test_an_open_import_is_not_erased_by_settling_it(database: Database) -> None:
    import_id = begin(database)
    stage(database, import_id, entry(1))
    with write(database):
        import_steps.settle(database, ImportNamed(import_id=import_id), REQUEST)

    assert commit(database, import_id).imported == 1
    assert list(stored(database)) == [1]


def test_an_export_counts_what_it_holds(database: Database, clock: list[int]) -> None:
    for number in range(5):
        create(database, f"kept {number}")
    for life in (1, 3600):
        create(database, f"for {life} s", tier="daily", ttl_seconds=life)
    delete(database, 2)
    delete(database, create(database, "deleted and expired", tier="daily", ttl_seconds=1))
    revealed = begin(database)
    stage(database, revealed, *(entry(number) for number in range(20, 25)))
    commit(database, revealed)
    delete(database, 20)
    stage(database, begin(database), entry(30), entry(31, tier="daily"))
    clock[0] += 1_000_000
    head, *lines = b"".join(export.stream_file(database, ExportFile(format="jsonl"), REQUEST)).splitlines()

    assert msgspec.json.decode(head)["memory_count"] == len(lines) == 4 + 1 + 4


def test_the_reveal_writes_a_few_rows_however_much_there_is(database: Database) -> None:
    import_id = begin(database)
    stage(database, import_id, *(entry(number) for number in range(1, 501)))
    before = database.connection.total_changes()
    commit(database, import_id)

    assert database.connection.total_changes() - before <= 3


def test_the_ids_that_changed_are_told_page_by_page(database: Database) -> None:
    for number in range(1, 8):
        create(database, f"in the way {number}")
    import_id = begin(database)
    stage(database, import_id, entry(9), *(entry(number) for number in (7, 3, 5, 1, 3)))
    told: dict[int, int] = {}
    while page := imports.changed_ids(database.connection, import_id, after=max(told, default=0), limit=2):
        assert len(page) <= 2
        told.update(page)
    commit(database, import_id)

    assert list(told) == [1, 3, 5, 7]
    assert {number: stored(database)[ours] for number, ours in told.items()} == {n: f"entry {n}" for n in (1, 3, 5, 7)}


CONTENTS = st.sampled_from(["a", "A", "b", "the same", "the  same"])
ENTRIES = st.lists(
    st.builds(
        lambda number, content, tags, kept: Entry(
            id=number, content=content, memory_type="note", tags=tags, created_at=datetime(2026, 1, 1 + kept, tzinfo=UTC)
        ),
        st.integers(1, 8) | st.sampled_from([2**53 - 1, 2**63 - 1]),
        CONTENTS,
        st.sampled_from([[], ["x"]]),
        st.integers(0, 1),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(before=st.lists(CONTENTS, max_size=4), entries=ENTRIES, batch=st.integers(1, 5))
def test_a_file_is_there_once_however_often_it_is_imported(
    tmp_path_factory: pytest.TempPathFactory, before: list[str], entries: list[Entry], batch: int
) -> None:
    """Whatever was there, and whatever batches it comes in: the second time everything is known."""
    with Database(tmp_path_factory.mktemp("again") / "memory.db") as database:
        for content in before:
            create(database, content)
        import_id = begin(database)
        for first in range(0, len(entries), batch):
            stage(database, import_id, *entries[first : first + batch], first=first)
        first_time = commit(database, import_id)
        end(database, import_id)
        held = stored(database)
        second_time = bring(database, *entries)
        tidy(database)

        assert first_time.imported + first_time.skipped == len(entries)
        assert (second_time.imported, second_time.skipped) == (0, len(entries))
        assert stored(database) == held
        assert memories.count(database.connection, NOW) == len(held) == len(before) + first_time.imported
        assert {entry.content for entry in entries} <= set(held.values())
