"""What a restore would do to today's memories, told without doing it, and whatever lies in the earlier state's file."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.catalogue.history import MemoryRestore
from engine.catalogue.memory import MemoryCreate, MemoryDelete, MemoryUpdate
from engine.catalogue.recovery import (
    EXAMPLES_MAX,
    PREVIEW_DATABASE,
    Difference,
    Forget,
    ListPurges,
    PreviewReport,
    Purge,
)
from engine.intake.preview import compare
from engine.protocol import ErrorCode, RemoteError, Request
from engine.store import imports
from engine.store.database import Database
from engine.tools import history, memory, recovery
from tests.engine.memory_rows import add
from tests.engine.restoring import PAGE_BYTES, make
from tests.engine.test_intake import flipped, with_schema

REQUEST = Request(id=1, method="")

Step = Callable[[Database], object]


def create(content: str, **fields: object) -> Step:
    return lambda database: memory.create(database, MemoryCreate(content=content, **fields), REQUEST)


def update(memory_id: int, content: str) -> Step:
    return lambda database: memory.update(database, MemoryUpdate(id=memory_id, content=content), REQUEST)


def delete(memory_id: int, *, purge: bool = False) -> Step:
    return lambda database: memory.delete(database, MemoryDelete(id=memory_id, purge=purge), REQUEST)


def undelete(memory_id: int) -> Step:
    return lambda database: history.restore(database, MemoryRestore(id=memory_id), REQUEST)


def preview(folder: Path, earlier: bytes) -> PreviewReport:
    """Compare the database of a folder with an earlier state, as a running engine does."""
    path = folder / PREVIEW_DATABASE
    path.write_bytes(earlier)
    try:
        with Database(folder / "memory.db") as database, database.snapshot() as reader:
            return compare(reader, path)
    finally:
        assert list(folder.glob(f"{PREVIEW_DATABASE}*")) == []


def test_it_tells_what_would_come_change_and_go(tmp_path: Path) -> None:
    folder = tmp_path / "tenant"
    earlier = make(folder, *(create(f"memory {number}") for number in range(1, 7)))
    make(folder, update(2, "of today"), delete(3), delete(4, purge=True), create("made since"))

    assert preview(folder, earlier) == PreviewReport(
        added=1,
        changed=1,
        deleted=1,
        examples=[
            Difference(id=7, change="deleted", content="made since"),
            Difference(id=3, change="added", content="memory 3"),
            Difference(id=2, change="changed", content="memory 2"),
        ],
    )


def test_what_nobody_can_see_is_not_counted(tmp_path: Path, database: Database) -> None:
    """In either: what lies in the trash, has expired, or is staged by an import."""
    folder = tmp_path / "tenant"

    def hide(opened: Database) -> None:
        staged = imports.begin(opened.connection, opened.now())
        for number in range(3):
            add(opened, f"expired {number}", expires_at=1)
            add(opened, f"staged {number}", import_id=staged)

    earlier = make(folder, create("kept"), create("in the trash"), delete(2), hide)
    make(folder, create("made and gone"), delete(9), hide)

    assert preview(folder, earlier) == PreviewReport()


def test_the_same_version_made_twice_is_another(tmp_path: Path) -> None:
    """After a restore, the number that a change is given was given before."""
    folder = tmp_path / "tenant"
    before = make(folder, create("first"))
    undone = make(folder, update(1, "then"))
    (folder / "memory.db").write_bytes(before)
    make(folder, update(1, "now"))

    assert preview(folder, undone).examples == [Difference(id=1, change="changed", content="then")]


def test_a_fetched_state_of_an_older_schema_is_compared(tmp_path: Path) -> None:
    folder = tmp_path / "tenant"
    make(folder, create("kept"), create("another"))
    report = preview(folder, with_schema(tmp_path / "older.db", 1))

    assert (report.added, report.changed, report.deleted) == (0, 1, 1)


def test_examples_are_few_new_and_short(tmp_path: Path) -> None:
    folder = tmp_path / "tenant"
    many = [create("😀" * 600) for _ in range(EXAMPLES_MAX + 5)]
    earlier = make(folder, *many)
    make(folder, *(delete(number + 1) for number in range(len(many))), *many)
    report = preview(folder, earlier)

    assert (report.added, report.deleted) == (len(many), len(many))
    for change, newest in (("added", len(many)), ("deleted", 2 * len(many))):
        found = [example for example in report.examples if example.change == change]
        assert [example.id for example in found] == list(range(newest, newest - EXAMPLES_MAX, -1))
        assert {example.content for example in found} == {"😀" * 500}


CHANGES = st.lists(
    st.tuples(st.sampled_from(["create", "update", "trash", "undelete", "purge"]), st.integers(0, 30)), max_size=15
)


@settings(max_examples=25, deadline=None)
@given(before=CHANGES, after=CHANGES)
def test_it_says_what_two_sets_say(before: list[tuple[str, int]], after: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, model = Path(name), Model()
        earlier = make(folder, *model.steps(before))
        then = dict(model.visible)
        make(folder, *model.steps(after))
        now = model.visible
        report = preview(folder, earlier)

        assert report.added == len(then.keys() - now.keys() - model.purged)
        assert report.changed == sum(then[each] != now[each] for each in then.keys() & now.keys())
        assert report.deleted == len(now.keys() - then.keys())


class Model:
    """What can be seen after some changes, each memory with the number of the change that made it what it is."""

    def __init__(self) -> None:
        self.visible: dict[int, int] = {}
        self.purged: set[int] = set()
        self._trash: dict[int, int] = {}
        self._highest = 0
        self._number = 0

    def steps(self, changes: list[tuple[str, int]]) -> list[Step]:
        """Carry the changes out here, and return the same for a database."""
        return [self._step(*change) for change in changes]

    def _step(self, what: str, choice: int) -> Step:
        self._number += 1
        seen, trash = sorted(self.visible), sorted(self._trash)
        if what == "undelete" and trash:
            memory_id = trash[choice % len(trash)]
            self.visible[memory_id] = self._trash.pop(memory_id)
            return undelete(memory_id)
        if what in ("create", "undelete") or not seen:
            self._highest += 1
            self.visible[self._highest] = self._number
            return create(f"text {self._number}")
        memory_id = seen[choice % len(seen)]
        if what == "update":
            self.visible[memory_id] = self._number
            return update(memory_id, f"text {self._number}")
        version = self.visible.pop(memory_id)
        if what == "purge":
            self.purged.add(memory_id)
        else:
            self._trash[memory_id] = version
        return delete(memory_id, purge=what == "purge")


# What may lie in that file


UNREADABLE: dict[str, Callable[[bytes, Path], bytes]] = {
    "nothing": lambda _data, _path: b"",
    "no database": lambda _data, _path: b"something else entirely" * 1000,
    "a flipped bit": lambda data, _path: b"".join(
        flipped(data[start : start + PAGE_BYTES], 2000) if start else data[:PAGE_BYTES]
        for start in range(0, len(data), PAGE_BYTES)
    ),
    "half of it": lambda data, _path: data[: len(data) // 2 // PAGE_BYTES * PAGE_BYTES],
    "another schema": lambda _data, path: foreign(path),
    "a newer schema": lambda _data, path: foreign(path, version=999),
}


def foreign(path: Path, version: int = 6) -> bytes:
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE memories (id, content)")
    connection.pragma("user_version", version)
    connection.close()
    return path.read_bytes()


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_can_not_be_read_is_an_error_of_the_call(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "tenant"
    earlier = make(folder, *(create(f"memory {number} " * 50) for number in range(100)))
    with pytest.raises(RemoteError) as error:
        preview(folder, UNREADABLE[what](earlier, tmp_path / "foreign.db"))

    assert error.value.code == ErrorCode.UNAVAILABLE


def test_so_is_no_file_at_all(tmp_path: Path) -> None:
    make(tmp_path, create("kept"))
    with (
        Database(tmp_path / "memory.db") as database,
        database.snapshot() as reader,
        pytest.raises(RemoteError, match="could not be read"),
    ):
        compare(reader, tmp_path / PREVIEW_DATABASE)


def test_damage_of_todays_database_is_told_as_what_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "tenant"
    earlier = make(folder, *(create(f"memory {number} " * 50) for number in range(100)))
    (folder / "memory.db").write_bytes(UNREADABLE["a flipped bit"](earlier, folder))
    (folder / PREVIEW_DATABASE).write_bytes(earlier)
    reader = apsw.Connection(str(folder / "memory.db"), vfs="cksmvfs")
    with pytest.raises(apsw.Error):
        compare(reader, folder / PREVIEW_DATABASE)
    reader.close()

    assert not (folder / PREVIEW_DATABASE).exists()


def test_a_caller_that_is_gone_ends_it(tmp_path: Path) -> None:
    folder = tmp_path / "tenant"
    earlier = make(folder, *(create(f"memory {number}") for number in range(3)))
    path = folder / PREVIEW_DATABASE
    path.write_bytes(earlier)
    with Database(folder / "memory.db") as database, database.snapshot() as reader:
        # A statement that goes on is what an interruption is for; the comparison comes upon it as it would on its own.
        cursor = reader.execute("SELECT id FROM memories")
        reader.interrupt()
        with pytest.raises(apsw.InterruptError):
            compare(reader, path)
        cursor.close()

    assert not path.exists()


def test_it_runs_in_a_thread_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "tenant"
    earlier = make(folder, create("gone today"))
    make(folder, delete(1))
    reports: list[PreviewReport] = []
    thread = threading.Thread(target=lambda: reports.append(preview(folder, earlier)))
    thread.start()
    thread.join()

    assert [report.added for report in reports] == [1]


# What must not come back


def test_what_was_purged_is_told_whole_and_in_pieces(database: Database) -> None:
    with database.write_group():
        database.connection.executemany("INSERT INTO purges VALUES (?, 'hash', 7)", ((number,) for number in range(1, 1001)))
    pieces = list(recovery.list_purges(database, ListPurges(), REQUEST))

    assert len(pieces) > 1
    assert [purge for piece in pieces for purge in piece.purges] == [Purge(number, "hash", 7) for number in range(1, 1001)]


def test_a_fork_forgets_what_was_purged_from_its_source(tmp_path: Path) -> None:
    with Database(tmp_path / "memory.db") as database:
        for step in (create("kept"), create("a zqsecret"), create("in the trash, zqsecret"), delete(3)):
            with database.write_group():
                step(database)
        asked = Forget(purges=[Purge(memory_id, "whatever it said last", 7) for memory_id in (2, 3, 99)])
        with database.write_group():
            forgotten = recovery.forget(database, asked, REQUEST)
        with database.write_group():
            again = recovery.forget(database, asked, REQUEST)

        assert (forgotten.erased, again.erased) == (2, 0)
        assert not database.owes_erasure
        assert not any(b"zqsecret" in path.read_bytes() for path in tmp_path.glob("memory.db*"))
        assert database.connection.execute("SELECT memory_id, purged_at FROM purges").fetchall() == [(2, 7), (3, 7), (99, 7)]


def test_a_fork_gives_the_id_of_what_was_purged_to_no_other_memory(tmp_path: Path) -> None:
    """The state that it was made of had not come to that id yet. A new memory under it would be erased by the next restore."""
    with Database(tmp_path / "memory.db") as database:
        with database.write_group():
            create("made before the fork")(database)
        with database.write_group():
            recovery.forget(database, Forget(purges=[Purge(2, "made and purged since", 7), Purge(3, "likewise", 8)]), REQUEST)
        with database.write_group():
            create("made in the fork")(database)
        made = database.connection.execute("SELECT id FROM memories ORDER BY id").fetchall()

    assert made == [(1,), (4,)]


def test_the_later_of_two_purges_counts(database: Database) -> None:
    """How long it is remembered goes by it."""
    now = database.now()
    for later in (0, 2, 1):
        with database.write_group():
            recovery.forget(database, Forget(purges=[Purge(2, f"{later} later", now + later)]), REQUEST)

    assert database.connection.execute("SELECT * FROM purges").fetchall() == [(2, "2 later", now + 2)]
