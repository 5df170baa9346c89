"""Damage is found and never served, committed or copied; nothing that was acknowledged depends on a checkpoint."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import apsw
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import check
from engine.capture.live_files import log_path
from engine.capture.wal import HEADER_BYTES, LogDamaged
from engine.catalogue.lifecycle import QUARANTINE_FILE, CheckReport
from engine.catalogue.memory import MemoryCreate
from engine.folder import FolderLock
from engine.protocol import Embedding, Passage, Request
from engine.store import checkpoint, integrity, passages
from engine.store.connection import open_reader
from engine.store.database import Database
from engine.store.quarantine import Quarantine, is_damage
from engine.tools import memory

REQUEST = Request(id=1, method="")


def create(database: Database, content: str) -> int:
    with database.write_group():
        created = memory.create(database, MemoryCreate(content=content), REQUEST)
    return int(created.id)  # type: ignore[union-attr]


def contents(database: Database) -> list[str]:
    return [row[0] for row in database.connection.execute("SELECT content FROM memories ORDER BY id")]


def flip(path: Path, position: int) -> None:
    """Flip a bit in place, as a disk does: under a database that may be open."""
    descriptor = os.open(path, os.O_RDWR)
    byte = os.pread(descriptor, 1, position)[0]
    os.pwrite(descriptor, bytes([byte ^ 0x10]), position)
    os.close(descriptor)


# The log of a live database


def test_only_the_checkpointer_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    database = Database(path)
    size = path.stat().st_size
    for number in range(300):
        create(database, f"{number} " * 2000)
    frames = database.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)[0]
    open_reader(path).close()
    database.abandon()

    assert frames > 2 * checkpoint.CHECKPOINT_FRAMES
    assert path.stat().st_size == size
    assert log_path(path).exists()
    with Database(path) as again:
        assert len(contents(again)) == 300


def test_a_long_log_is_emptied_into_the_file(tmp_path: Path) -> None:
    with Database(tmp_path / "memory.db") as database:
        while database.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)[0] < checkpoint.CHECKPOINT_FRAMES:
            database.checkpoints.run_if_due()
            assert log_path(database.path).stat().st_size > 0
            create(database, "x " * 20_000)
        database.checkpoints.run_if_due()

        assert log_path(database.path).stat().st_size == 0


def test_a_bit_that_flips_in_the_log_is_not_stamped_as_right(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    database = Database(path)
    for number in range(20):
        create(database, f"memory number {number} about the harbour")
    before = path.read_bytes()
    flip(log_path(path), log_path(path).read_bytes().index(b"number 13 about"))

    with pytest.raises(LogDamaged):
        database.checkpoints.run()
    with pytest.raises(LogDamaged):
        database.close()
    assert path.read_bytes() == before
    assert log_path(path).exists()


@pytest.mark.parametrize("gone", ["cut", "emptied", "removed"])
def test_a_log_that_somebody_took_away_is_damage(tmp_path: Path, gone: str) -> None:
    database = Database(tmp_path / "memory.db")
    create(database, "committed")
    path = log_path(database.path)
    {"cut": lambda: os.truncate(path, 5000), "emptied": lambda: os.truncate(path, 0), "removed": path.unlink}[gone]()

    with pytest.raises(LogDamaged):
        database.checkpoints.run()
    database.abandon()


def test_a_checkpoint_waits_for_no_reader(tmp_path: Path) -> None:
    with Database(tmp_path / "memory.db") as database:
        create(database, "one")
        with database.snapshot() as reader:
            create(database, "two")
            before = database.path.read_bytes()
            assert not database.checkpoints.run()
            assert database.path.read_bytes() == before  # a log that was copied in part would begin anew on old frames
            assert reader.execute("SELECT count(*) FROM memories").get == 1

        assert database.checkpoints.run()
        assert contents(database) == ["one", "two"]


def test_somebody_who_looks_into_the_file_puts_a_checkpoint_off(tmp_path: Path) -> None:
    with Database(tmp_path / "memory.db") as database:
        create(database, "one")
        outsider = open_reader(database.path)
        outsider.execute("BEGIN; SELECT count(*) FROM memories").fetchall()
        create(database, "two")
        assert not database.checkpoints.run()
        create(database, "three")
        outsider.close()

        assert database.checkpoints.run()
        assert log_path(database.path).stat().st_size == 0
    with Database(tmp_path / "memory.db") as database:
        assert contents(database) == ["one", "two", "three"]


@settings(max_examples=20, deadline=None)
@given(steps=st.lists(st.sampled_from(["write", "write", "checkpoint", "snapshot", "kill"]), max_size=25))
def test_a_kill_between_any_two_steps_loses_nothing(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    """A copy of both files is what a killed process leaves. Each must open to everything that was acknowledged."""
    folder = tmp_path_factory.mktemp("kill")
    written: list[str] = []
    database = Database(folder / "memory.db")
    for number, step in enumerate(steps):
        if step == "write":
            written.append(f"memory {number} " * 700)
            create(database, written[-1])
        elif step == "checkpoint":
            database.checkpoints.run()
        elif step == "snapshot":
            with database.snapshot():
                database.checkpoints.run()
        else:
            database.abandon()
            database = Database(folder / "memory.db")
        left = folder / str(number)
        left.mkdir()
        for path in (database.path, log_path(database.path)):
            if path.exists():
                shutil.copy(path, left)
        with Database(left / "memory.db") as copy:
            assert contents(copy) == written
    database.close()
    assert not log_path(database.path).exists()


# The log that a killed engine leaves behind


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database that was killed after many commits."""
    folder = tmp_path_factory.mktemp("killed")
    database = Database(folder / "memory.db")
    database.checkpoints.run()
    for number in range(10):
        create(database, f"memory number {number}")
    database.abandon()
    return folder


@settings(max_examples=40, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True))
def test_a_bit_flipped_in_what_was_committed_is_found_before_the_file_is_opened(
    killed: Path, tmp_path_factory: pytest.TempPathFactory, place: float
) -> None:
    """SQLite would forget all that follows the bit. Up to the last two commits, where it could be a torn end."""
    folder = tmp_path_factory.mktemp("flipped")
    shutil.copytree(killed, folder, dirs_exist_ok=True)
    path = log_path(folder / "memory.db")
    commits = [
        end for end in range(HEADER_BYTES, path.stat().st_size, 24 + 4096) if path.read_bytes()[end + 4 : end + 8] != bytes(4)
    ]
    flip(path, int(place * commits[-2]))
    before = {file.name: file.read_bytes() for file in folder.glob("memory.db*")}

    with pytest.raises(LogDamaged):
        Database(folder / "memory.db")
    assert {file.name: file.read_bytes() for file in folder.glob("memory.db*")} == before


@settings(max_examples=20, deadline=None)
@given(kept=st.floats(0, 1))
def test_a_torn_log_opens_to_a_commit(killed: Path, tmp_path_factory: pytest.TempPathFactory, kept: float) -> None:
    folder = tmp_path_factory.mktemp("torn")
    shutil.copytree(killed, folder, dirs_exist_ok=True)
    path = log_path(folder / "memory.db")
    os.truncate(path, int(path.stat().st_size * kept))

    with Database(folder / "memory.db") as database:
        assert contents(database) == [f"memory number {number}" for number in range(len(contents(database)))]


# Which errors mean damage


@pytest.mark.parametrize("position", [3, 30, 100, 4096 * 3 + 100, 4096 * 5 + 4090])
def test_whatever_is_flipped_in_the_file_is_damage(tmp_path: Path, position: int) -> None:
    path = tmp_path / "memory.db"
    with Database(path) as database:
        create(database, "whole")
    flip(path, position)

    with pytest.raises((apsw.Error, LogDamaged)) as error, Database(path) as database:
        integrity_problems(database.connection, path)
    assert is_damage(error.value)


def integrity_problems(connection: apsw.Connection, path: Path) -> None:
    report, damage = integrity.check(connection, path, alone=False)
    if damage is not None:
        raise damage
    assert report.problems == []


def test_a_file_that_is_cut_short_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with Database(path) as database:
        create(database, "whole")
    os.truncate(path, path.stat().st_size // 2)

    with pytest.raises(apsw.Error) as error, Database(path) as database:
        integrity_problems(database.connection, path)
    assert is_damage(error.value)


def test_what_may_pass_is_no_damage() -> None:
    assert not is_damage(apsw.IOError("a cable"))
    assert not is_damage(apsw.FullError())
    assert not is_damage(apsw.SQLError())
    assert not is_damage(OSError())


# Quarantine


def test_the_marker_says_when_and_what_and_nothing_that_is_stored(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path)
    assert not quarantine.is_active
    quarantine.enter(apsw.CorruptError("row 'my secret' is malformed"))
    quarantine.enter(LogDamaged("a second time"))

    marker = msgspec.json.decode((tmp_path / QUARANTINE_FILE).read_bytes())
    assert marker.keys() == {"quarantined_at", "reason"}
    assert marker["reason"] == "the file's structure is malformed"
    assert Quarantine(tmp_path).is_active
    quarantine.leave()
    assert not Quarantine(tmp_path).is_active


def test_a_marker_is_not_written_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    (tmp_path / QUARANTINE_FILE).symlink_to(target)
    quarantine = Quarantine(tmp_path)

    assert quarantine.is_active
    quarantine.enter(apsw.CorruptError())
    assert not target.exists()


# The check of a whole database


def test_a_sound_database_has_no_problems(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with Database(path) as database:
        fill(database)
        with database.snapshot() as reader:
            beside, damage = integrity.check(reader, path, alone=False)
    alone = check.check(path)

    assert (beside.problems, damage, alone.problems) == ([], None, [])
    assert beside.memories == alone.memories == 5
    assert alone.bytes == path.stat().st_size
    assert alone.left_out == []
    assert len(beside.left_out) == 1


def fill(database: Database) -> None:
    for number in range(5):
        with database.write_group():
            created = memory.create(database, MemoryCreate(content=f"memory {number}", tags=["a", f"b/{number}"]), REQUEST)
            passages.replace(
                database.connection,
                created.id,  # type: ignore[union-attr]
                Embedding("a-model", [Passage(0, 8, random.Random(number).randbytes(384 * 4))]),
            )


TAMPERINGS = {
    "memories without an entry in the word index": "DELETE FROM memories_fts_docsize WHERE id = 2",
    "entries of the word index without a memory": "INSERT INTO memories_fts_docsize VALUES (99, x'01010101')",
    "memories by which the counter is wrong": "UPDATE counters SET value = value + 3 WHERE name = 'memories'",
    "tags that cannot be searched for": "DELETE FROM memory_tags WHERE tag = 'a' AND memory_id = 3",
    "tags that no memory has": "INSERT INTO memory_tags VALUES ('stray', 4)",
    "vectors without their code": "DELETE FROM passage_codes WHERE memory_id = 1",
    "codes without their vector": "UPDATE passage_codes SET id = 99 WHERE memory_id = 1",
    "embedded memories without a vector": "DELETE FROM passages WHERE memory_id = 1",
    "rows without their row in memories": "UPDATE passages SET memory_id = 77 WHERE memory_id = 2",
    "the word index does not hold the words": (
        "DROP TRIGGER memories_text_updated; UPDATE memories SET content = 'other words' WHERE id = 1"
    ),
}


@pytest.mark.parametrize("problem", TAMPERINGS)
def test_each_kind_of_inconsistency_is_told(tmp_path: Path, problem: str) -> None:
    path = tmp_path / "memory.db"
    with Database(path) as database:
        fill(database)
        database.connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
        database.connection.pragma("foreign_keys", False)
        database.connection.execute(TAMPERINGS[problem])

    assert [text for text in check.check(path).problems if problem in text]


def test_a_check_alone_lets_a_sound_database_out_of_quarantine(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    with Database(tmp_path / "memory.db") as database:
        fill(database)
    Quarantine(tmp_path).enter(LogDamaged())
    page = 4096 * 3 + 100

    flip(tmp_path / "memory.db", page)
    assert check.run(tmp_path, release=True) == 1
    assert reported(capfdbinary).problems
    assert Quarantine(tmp_path).is_active

    flip(tmp_path / "memory.db", page)
    assert check.run(tmp_path, release=False) == 0
    assert Quarantine(tmp_path).is_active

    assert check.run(tmp_path, release=True) == 0
    assert reported(capfdbinary) == CheckReport(memories=5, bytes=(tmp_path / "memory.db").stat().st_size)
    assert not Quarantine(tmp_path).is_active


def test_what_an_engine_serves_is_not_checked_beside_it(tmp_path: Path) -> None:
    with FolderLock(tmp_path, wait_s=0):
        assert check.run(tmp_path, release=False) == 2


def reported(output: pytest.CaptureFixture[bytes]) -> CheckReport:
    return msgspec.json.decode(output.readouterr().out.splitlines()[-1], type=CheckReport)
