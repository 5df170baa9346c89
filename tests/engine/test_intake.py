"""A restored database takes the place of the present one: what stays the same, what is carried forward, what is refused."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import ltx
from engine.capture import Capture
from engine.capture.position_file import PositionFile
from engine.captured import Position
from engine.catalogue.lifecycle import DUE_FILE, QUARANTINE_FILE
from engine.catalogue.memory import MemoryCreate, MemoryDelete, MemoryUpdate
from engine.catalogue.recovery import INTAKE_JOURNAL, PREVIEW_DATABASE, RESTORE_DATABASE, RESTORE_NOTE, RESTORED_FILE, Restored
from engine.intake import NotTakenIn, take_in
from engine.ltx import page_checksum
from engine.protocol import Request
from engine.store import idempotency, imports
from engine.store.connection import open_writer
from engine.store.database import Database
from engine.store.migration import MIGRATIONS, migrate
from engine.store.quarantine import Quarantine
from engine.tools import memory
from tests.engine.restoring import (
    PAGE_BYTES,
    TIMESTAMP_MS,
    Kind,
    contents,
    hand_over,
    make,
    note_for,
    outcome,
    position,
)

REQUEST = Request(id=1, method="")
SECRET = "zqsecret"

Step = Callable[[Database], object]


def create(content: str) -> Step:
    return lambda database: memory.create(database, MemoryCreate(content=content), REQUEST)


def update(memory_id: int, content: str) -> Step:
    return lambda database: memory.update(database, MemoryUpdate(id=memory_id, content=content), REQUEST)


def purge(memory_id: int) -> Step:
    return lambda database: memory.delete(database, MemoryDelete(id=memory_id, purge=True), REQUEST)


def begin_import(database: Database) -> None:
    imports.begin(database.connection, database.now())


def answered(key: str, content: str) -> Step:
    """A request with an idempotency key, answered with what it made."""

    def step(database: Database) -> None:
        created = memory.create(database, MemoryCreate(content=content), REQUEST)
        request = Request(id=1, method="memory_create", idempotency_key=key)
        idempotency.remember(database.connection, request, created, msgspec.msgpack.encode(created), database.now())

    return step


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def rows(folder: Path, query: str) -> list[Any]:
    with Database(folder / "memory.db") as database:
        return database.connection.execute(query).fetchall()


@pytest.fixture
def restored(tmp_path: Path) -> bytes:
    """A database with two memories."""
    return make(tmp_path / "source", create("of the harbour"), create("of the lighthouse"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tenant's folder."""
    return tmp_path / "tenant"


def test_without_a_restored_database_nothing_happens(folder: Path) -> None:
    make(folder, create("kept"))
    before = files(folder)
    take_in(folder)

    assert files(folder) == before


def test_a_note_alone_says_nothing(folder: Path, restored: bytes) -> None:
    """The fork server was killed between the note and the database."""
    make(folder, create("kept"))
    hand_over(folder, restored, note_for(restored, "earlier"))
    (folder / RESTORE_DATABASE).unlink()
    take_in(folder)

    assert contents(folder) == {1: "kept"}
    assert not (folder / RESTORED_FILE).exists()


# The newest state there is


def test_the_newest_state_is_served_byte_for_byte_and_its_history_goes_on(folder: Path, restored: bytes) -> None:
    hand_over(folder, restored, note_for(restored, "same", txid=7))
    take_in(folder)

    assert files(folder).keys() == {"memory.db", "captured", RESTORED_FILE}
    assert (folder / "memory.db").read_bytes() == restored
    assert outcome(folder) == Restored(id="restore-1", memories=2)
    assert position(folder) == Position(
        serial=1,
        txid=7,
        timestamp_ms=TIMESTAMP_MS,
        page_bytes=PAGE_BYTES,
        pages=len(restored) // PAGE_BYTES,
        checksum=note_for(restored, "same").checksum,
        first_page=page_checksum(1, restored[:PAGE_BYTES]),
    )


def test_it_takes_the_place_of_an_older_one_with_all_that_was_left_of_that(folder: Path, restored: bytes) -> None:
    make(folder, create("stale"))
    (folder / "memory.db-wal").write_bytes(b"frames of the stale one")
    (folder / "memory.db-shm").write_bytes(b"their index")
    (folder / DUE_FILE).write_bytes(b"{}")
    for name in ("0000000000000003-0000000000000003.ltx", "0000000000000004-0000000000000004.ltx.new"):
        (folder / "outbox" / name).write_bytes(b"of a time before")
    with PositionFile(folder) as file:
        file.write(txid=3, salts=(1, 2), frames=9)
    hand_over(folder, restored, note_for(restored, "same", txid=7))
    take_in(folder)

    assert files(folder).keys() == {"memory.db", "captured", RESTORED_FILE}
    assert (folder / "memory.db").read_bytes() == restored
    assert names(folder / "outbox") == set()
    taken_over = position(folder)
    assert taken_over is not None
    assert (taken_over.txid, taken_over.frames, taken_over.whole_next) == (7, 0, False)


def test_the_outcome_can_be_read_by_the_group_and_by_nobody_else(folder: Path, restored: bytes) -> None:
    hand_over(folder, restored, note_for(restored, "same", txid=7))
    before = os.umask(0o027)
    try:
        take_in(folder)
    finally:
        os.umask(before)

    assert stat.S_IMODE((folder / RESTORED_FILE).stat().st_mode) == 0o640


def test_a_state_of_an_older_schema_is_left_as_it_is(folder: Path, tmp_path: Path) -> None:
    """The engine brings it up to date when it opens it, and captures that like any other change."""
    older = with_schema(tmp_path / "older.db", 1)
    hand_over(folder, older, note_for(older, "same", txid=7))
    take_in(folder)

    assert (folder / "memory.db").read_bytes() == older
    assert outcome(folder).memories == 1
    assert contents(folder) == {1: "from before"}


# An earlier state


def test_what_was_purged_since_does_not_come_back(folder: Path) -> None:
    earlier = make(
        folder, create("kept"), create(f"a {SECRET}"), create(f"another {SECRET}, to be changed"), answered("key", SECRET)
    )
    make(folder, update(3, "harmless"), purge(2), purge(3), purge(4), create("made since"))
    hand_over(folder, earlier, note_for(earlier, "earlier"))
    take_in(folder)

    assert not any(SECRET.encode() in data for data in files(folder).values())
    assert names(folder) == {"memory.db", "captured", "outbox", RESTORED_FILE}
    assert outcome(folder) == Restored(id="restore-1", memories=1)
    assert contents(folder) == {1: "kept"}
    assert rows(folder, "SELECT memory_id FROM purges ORDER BY memory_id") == [(2,), (3,), (4,)]
    assert rows(folder, "SELECT key, answer FROM idempotent_requests") == [("key", None)]
    assert rows(folder, "SELECT term FROM memories_vocabulary ORDER BY term") == [("default",), ("kept",)]


def test_no_id_is_given_out_twice(folder: Path) -> None:
    earlier = make(folder, create("kept"))
    make(folder, create("a"), create("b"), begin_import, begin_import)
    hand_over(folder, earlier, note_for(earlier, "earlier"))
    take_in(folder)
    make(folder, create("made after the restore"), begin_import)

    assert contents(folder) == {1: "kept", 4: "made after the restore"}
    assert rows(folder, "SELECT id FROM imports") == [(3,)]


def test_what_is_purged_only_in_the_log_of_a_killed_engine_counts(folder: Path, tmp_path: Path) -> None:
    earlier = make(tmp_path / "live", create("kept"), create("to be purged"))
    with Database(tmp_path / "live" / "memory.db") as database, database.snapshot():
        with database.write_group():
            purge(2)(database)
        folder.mkdir()
        for path in (tmp_path / "live").glob("memory.db*"):
            (folder / path.name).write_bytes(path.read_bytes())
    hand_over(folder, earlier, note_for(earlier, "earlier"))
    take_in(folder)

    assert contents(folder) == {1: "kept"}


def test_what_a_killed_engine_had_not_captured_is_captured_first(folder: Path, restored: bytes, tmp_path: Path) -> None:
    """A restore to the moment before this one leads back to all that was acknowledged."""
    live = tmp_path / "live"
    (live / "outbox").mkdir(parents=True)
    with Database(live / "memory.db", capture=Capture(live)) as database:
        with database.write_group():
            create("captured")(database)
        database.flush()
        with database.write_group():
            create("acknowledged")(database)
        shutil.copytree(live, folder)
    hand_over(folder, restored, note_for(restored, "earlier"))
    before = position(folder)
    take_in(folder)
    after = position(folder)

    assert before is not None
    assert after is not None
    assert after.txid == before.txid + 1
    assert names(folder / "outbox") == {ltx.file_name(txid, txid) for txid in range(1, after.txid + 1)}
    assert after.whole_next


def test_history_goes_on_after_the_present_position_with_the_whole_database(folder: Path, restored: bytes) -> None:
    make(folder, create("present"))
    with PositionFile(folder) as file:
        before = file.write(txid=12, timestamp_ms=99, salts=(1, 2), frames=9, log_checksum=(3, 4), whole_next=False)
    shipped_soon = folder / "outbox" / "000000000000000c-000000000000000c.ltx"
    shipped_soon.write_bytes(b"a file")
    hand_over(folder, restored, note_for(restored, "earlier", txid=5))
    take_in(folder)

    changed = {"serial": before.serial + 1, "salts": (0, 0), "frames": 0, "log_checksum": (0, 0), "whole_next": True}
    assert position(folder) == msgspec.structs.replace(before, **changed)
    assert shipped_soon.exists()


def test_without_a_position_it_goes_on_after_what_the_note_says(folder: Path, restored: bytes) -> None:
    hand_over(folder, restored, note_for(restored, "earlier", txid=5))
    take_in(folder)

    assert position(folder) == Position(serial=1, txid=5, timestamp_ms=TIMESTAMP_MS, whole_next=True)


def test_a_restore_ends_a_quarantine(folder: Path, restored: bytes) -> None:
    make(folder, create("damaged"))
    (folder / "memory.db").write_bytes(b"no database any more" * 1000)
    Quarantine(folder).enter(apsw.NotADBError("no database"))
    hand_over(folder, restored, note_for(restored, "earlier"))
    take_in(folder)

    assert not (folder / QUARANTINE_FILE).exists()
    assert contents(folder) == {1: "of the harbour", 2: "of the lighthouse"}


def test_an_earlier_state_of_an_older_schema_is_brought_up_to_date(folder: Path, tmp_path: Path) -> None:
    older = with_schema(tmp_path / "older.db", 1)
    make(folder, create("kept"), purge(1))
    hand_over(folder, older, note_for(older, "earlier"))
    take_in(folder)

    assert outcome(folder).memories == 0
    assert contents(folder) == {}


CHANGES = st.lists(
    st.one_of(
        st.just(("create", 0)),
        st.tuples(st.sampled_from(["update", "purge", "trash"]), st.integers(0, 30)),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(before=CHANGES, after=CHANGES)
def test_whatever_was_done_before_and_since(before: list[tuple[str, int]], after: list[tuple[str, int]]) -> None:
    """An earlier state comes back as it was, but for what was purged at any time; and ids go on where they were."""
    with tempfile.TemporaryDirectory() as name:
        folder, model = Path(name), Model()
        earlier = make(folder, *(model.step(*change) for change in before))
        expected = dict(model.living)
        make(folder, *(model.step(*change) for change in after))
        hand_over(folder, earlier, note_for(earlier, "earlier"))
        take_in(folder)

        assert contents(folder) == {key: text for key, text in expected.items() if key not in model.purged}
        make(folder, create("the next"))
        assert max(contents(folder)) == model.highest + 1


class Model:
    """What a database holds, deleted or not, after some changes."""

    def __init__(self) -> None:
        self.living: dict[int, str] = {}
        self.trashed: set[int] = set()
        self.purged: set[int] = set()
        self.highest = 0
        self._number = 0

    def step(self, what: str, choice: int) -> Step:
        """Carry out a change of the ``choice``-th memory here, and return the same for a database."""
        self._number += 1
        content = f"text {self._number}"
        candidates = sorted(self.living.keys() - (self.trashed if what != "purge" else set()))
        if what == "create" or not candidates:
            self.highest += 1
            self.living[self.highest] = content
            return create(content)
        memory_id = candidates[choice % len(candidates)]
        if what == "update":
            self.living[memory_id] = content
            return update(memory_id, content)
        if what == "purge":
            del self.living[memory_id]
            self.purged.add(memory_id)
            return purge(memory_id)
        self.trashed.add(memory_id)
        return lambda database: memory.delete(database, MemoryDelete(id=memory_id), REQUEST)


@pytest.mark.parametrize(("kind", "before", "following"), [("same", 7, 8), ("earlier", 0, 6), ("fork", 0, 1)])
def test_history_goes_on_from_there(folder: Path, restored: bytes, kind: Kind, before: int, following: int) -> None:
    """With what changes after the newest state; with the whole database after any other."""
    hand_over(folder, restored, note_for(restored, kind, txid=before or 5))
    take_in(folder)
    with Database(folder / "memory.db", capture=Capture(folder)) as database:
        with database.write_group():
            create("made since")(database)
        database.flush()
        pages = database.connection.pragma("page_count")

    assert names(folder / "outbox") == {ltx.file_name(following, following)}
    decoder = ltx.Decoder()
    decoder.put((folder / "outbox" / ltx.file_name(following, following)).read_bytes())
    captured = sum(isinstance(event, ltx.Page) for event in iter(decoder.take, None))
    assert captured == pages if kind != "same" else 0 < captured < pages


# A fork


def test_a_fork_is_the_first_state_of_a_new_database(folder: Path, tmp_path: Path) -> None:
    source = make(tmp_path / "source", answered("key", "of the harbour"), create("gone"), purge(2))
    hand_over(folder, source, note_for(source, "fork", txid=9))
    take_in(folder)

    assert outcome(folder) == Restored(id="restore-1", memories=1)
    assert position(folder) == Position(serial=1, txid=0, whole_next=True)
    assert contents(folder) == {1: "of the harbour"}
    assert rows(folder, "SELECT * FROM idempotent_requests") == []
    assert rows(folder, "SELECT * FROM idempotent_memories") == []
    assert rows(folder, "SELECT memory_id FROM purges") == [(2,)]


def test_a_fork_never_takes_the_place_of_a_database(folder: Path, restored: bytes) -> None:
    make(folder, create("kept"))
    hand_over(folder, restored, note_for(restored, "fork"))
    with pytest.raises(NotTakenIn, match="there is one already"):
        take_in(folder)

    assert contents(folder) == {1: "kept"}


# What is refused


def with_schema(path: Path, version: int) -> bytes:
    """Return a database of an older schema, with a memory."""
    connection = open_writer(path)
    migrate(connection, MIGRATIONS[:version])
    connection.execute(
        "INSERT INTO memories (content, content_hash, type, tags, metadata, importance, workspace, scope_type, tier, version,"
        " created_at, updated_at)"
        " VALUES ('from before', '', 'note', '[]', '{}', 0.5, 'default', 'global', 'permanent', 1, 1, 1)"
    )
    return emptied(connection, path)


def emptied(connection: apsw.Connection, path: Path) -> bytes:
    """Close a database, so that all of it is in its file, and return that."""
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close()
    data = path.read_bytes()
    for left in path.parent.glob(f"{path.name}*"):
        left.unlink()
    return data


def changed(data: bytes, tmp_path: Path, *statements: str) -> bytes:
    """Return a database after statements that no engine would carry out."""
    path = tmp_path / "changed.db"
    path.write_bytes(data)
    connection = open_writer(path)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
    for statement in statements:
        connection.execute(statement)
    return emptied(connection, path)


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def in_rollback_mode(data: bytes) -> bytes:
    return data[:18] + b"\1\1" + data[20:]


REFUSED: dict[str, tuple[Callable[[bytes, Path], bytes], dict[str, Any], str]] = {
    "a page is missing": (lambda data, _: data[:-PAGE_BYTES], {}, "its size is not what its note says"),
    "a bit has flipped": (lambda data, _: flipped(data, 3 * PAGE_BYTES + 1), {}, "not those that were captured"),
    "another name": (lambda data, _: flipped(data, 0), {}, "no database of that page size"),
    "no page size": (lambda data, _: data, {"page_bytes": 4095}, "no page size"),
    "no size at all": (lambda data, _: data, {"pages": 0}, "numbers that nothing has"),
    "a transaction before the first": (lambda data, _: data, {"txid": -1}, "numbers that nothing has"),
}
"""What is done to the bytes behind the note's back, or to the note."""

UNSOUND: dict[str, tuple[Callable[[bytes, Path], bytes], str]] = {
    "a page's own checksum": (lambda data, _: flipped(data, 3 * PAGE_BYTES + 1), "damaged|not sound"),
    "a rollback journal": (lambda data, _: in_rollback_mode(data), "no database of ours"),
    "a newer schema": (lambda data, path: changed(data, path, "PRAGMA user_version = 999"), "it has schema 999"),
    "no tables": (lambda data, path: changed(data, path, "DROP TABLE memory_versions"), "not those of its schema"),
    "a row without its row": (
        lambda data, path: changed(data, path, "PRAGMA foreign_keys = 0", "INSERT INTO memory_tags VALUES ('tag', 99)"),
        "rows without their row",
    ),
    "a word that nobody said": (
        lambda data, path: changed(
            data, path, "DROP TRIGGER memories_text_updated", "UPDATE memories SET content = 'of the sea' WHERE id = 1"
        ),
        "the word index does not hold the words of the texts",
    ),
}
"""What the object store holds, and its note agrees with."""


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_what_its_note_says_is_refused(folder: Path, restored: bytes, tmp_path: Path, what: str) -> None:
    change, fields, reason = REFUSED[what]
    note = msgspec.structs.replace(note_for(restored, "earlier"), **fields)

    assert_refused(folder, change(restored, tmp_path), note, reason)


@pytest.mark.parametrize("what", UNSOUND)
def test_what_is_not_sound_is_refused(folder: Path, restored: bytes, tmp_path: Path, what: str) -> None:
    change, reason = UNSOUND[what]
    data = change(restored, tmp_path)

    assert_refused(folder, data, note_for(data, "earlier"), reason)


def assert_refused(folder: Path, data: bytes, note: Any, reason: str) -> None:
    make(folder, create("kept"))
    before = files(folder)
    hand_over(folder, data, note)
    take_in(folder)

    assert outcome(folder).id == note.id
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(outcome(folder).error)
    (folder / RESTORED_FILE).unlink()
    assert files(folder) == before


@pytest.mark.parametrize("kind", ["same", "fork"])
@pytest.mark.parametrize("has_present", [False, True])
def test_what_was_to_be_the_newest_or_the_first_state_has_no_substitute(
    folder: Path, restored: bytes, kind: Kind, has_present: bool
) -> None:
    if has_present:
        make(folder, create("of last week"))
    hand_over(folder, flipped(restored, 5000), note_for(restored, kind))
    with pytest.raises(NotTakenIn):
        take_in(folder)

    assert outcome(folder).error
    assert not (folder / RESTORE_DATABASE).exists()


def test_an_earlier_state_that_is_refused_leaves_no_empty_database(folder: Path, restored: bytes) -> None:
    hand_over(folder, flipped(restored, 5000), note_for(restored, "earlier"))
    with pytest.raises(NotTakenIn):
        take_in(folder)


@pytest.mark.parametrize("text", [None, b"", b"nonsense", b"{}", b'{"id": "' + b"x" * 5000 + b'"}', b"[" * 4096])
def test_a_database_of_which_nothing_is_said_is_refused(folder: Path, restored: bytes, text: bytes | None) -> None:
    make(folder, create("kept"))
    hand_over(folder, restored, note_for(restored, "earlier"))
    (folder / RESTORE_NOTE).unlink()
    if text is not None:
        (folder / RESTORE_NOTE).write_bytes(text)
    with pytest.raises(NotTakenIn, match="nothing says what it is"):
        take_in(folder)

    assert {RESTORE_DATABASE, RESTORE_NOTE, INTAKE_JOURNAL} & names(folder) == set()
    assert contents(folder) == {1: "kept"}


def test_a_restore_that_a_later_one_overtakes_is_forgotten(folder: Path, restored: bytes, tmp_path: Path) -> None:
    """The first was believed and half made ready when the engine was killed; then the next was adopted."""
    make(folder, create("present"))
    hand_over(folder, restored, note_for(restored, "earlier", name="first"))
    (folder / INTAKE_JOURNAL).write_bytes(b"of the first")
    (folder / f"{RESTORE_DATABASE}-wal").write_bytes(b"of the first")
    second = make(tmp_path / "second", create("of the second"))
    hand_over(folder, second, note_for(second, "earlier", name="second"))
    take_in(folder)

    assert outcome(folder) == Restored(id="second", memories=1)
    assert contents(folder) == {1: "of the second"}


# Previews


@pytest.mark.parametrize(("age_s", "stays"), [(60, True), (4000, False)])
def test_a_preview_that_nobody_waits_for_any_more_is_removed(folder: Path, restored: bytes, age_s: int, stays: bool) -> None:
    make(folder, create("kept"))
    preview = folder / PREVIEW_DATABASE
    preview.write_bytes(restored)
    os.utime(preview, (time.time() - age_s,) * 2)
    take_in(folder)

    assert preview.exists() == stays
