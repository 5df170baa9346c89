"""What an engine puts into its outbox, and where it goes on after whatever may have happened to its folder."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from engine.capture import Capture, PositionFile, stand_down
from engine.capture import capture as captures
from engine.capture.increment import read_increment
from engine.capture.live_files import log_path
from engine.capture.log_reader import Span
from engine.capture.pages import PageDamaged
from engine.capture.source import Source
from engine.capture.wal import FRAME_HEADER_BYTES, HEADER_BYTES, LogDamaged
from engine.capture.whole import GivenUp
from engine.captured import CAPTURED_FILE, FILE_BYTES, SLOT_BYTES, Position, decode
from engine.catalogue.memory import MemoryCreate, MemoryDelete
from engine.ltx import file_name
from engine.protocol import Request
from engine.store.database import Database
from engine.store.quarantine import is_damage
from engine.tools import memory
from tests.engine.conftest import Clock
from tests.engine.history import decode as decode_file
from tests.engine.history import descriptors, new_folder, outbox, rebuilt

REQUEST = Request(id=1, method="")
PAGE_BYTES = 4096


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return new_folder(tmp_path / "tenant")


@contextmanager
def opened(folder: Path, *, rebase: int | None = None) -> Iterator[Database]:
    """Open the database as an engine that captures; its end is in order."""
    with Database(folder / "memory.db", capture=Capture(folder, rebase=rebase)) as database:
        yield database


@contextmanager
def killed(folder: Path) -> Iterator[Database]:
    """Open it likewise; at the end nothing is written, as after ``kill -9``."""
    database = Database(folder / "memory.db", capture=Capture(folder))
    yield database
    database.abandon()


def store(database: Database, text: str, *, times: int = 1) -> list[int]:
    """Store memories, each in a group of its own."""
    ids = []
    for number in range(times):
        with database.write_group():
            ids.append(memory.create(database, MemoryCreate(content=f"{text} {number}"), REQUEST).id)
    return ids


def position(database: Database) -> Position:
    assert database.capture is not None
    return database.capture.position


def source_of(database: Database) -> Source:
    """Return what the capture reads from."""
    assert database.capture is not None
    assert database.capture._source is not None
    return database.capture._source


def span_of(database: Database) -> Span:
    """Return what is committed and not captured."""
    header = source_of(database).log.header()
    assert header is not None
    assert database.capture is not None
    before = position(database)
    checksum = before.log_checksum if before.frames else None
    return source_of(database).log.follow(header, database.capture._committed, first=before.frames, checksum=checksum)


def is_whole(path: Path) -> bool:
    header, pages = decode_file(path.read_bytes())
    return len(pages) == header.commit


def test_the_first_file_is_whole_and_each_flush_adds_one(folder: Path) -> None:
    with opened(folder) as database:
        store(database, "first")
        database.flush()
        store(database, "second", times=3)
        database.flush()
        database.flush()

        assert [path.name for path in outbox(folder)] == [file_name(1, 1), file_name(2, 2)]
        assert [is_whole(path) for path in outbox(folder)] == [True, False]
        assert rebuilt(outbox(folder)).agrees_with(position(database))
        database.checkpoints.run()
        assert rebuilt(outbox(folder)).file() == (folder / "memory.db").read_bytes()


def test_an_end_in_order_leaves_nothing_uncaptured(folder: Path) -> None:
    for number in range(3):
        with opened(folder) as database:
            store(database, f"life {number}", times=5)

    assert rebuilt(outbox(folder)).file() == (folder / "memory.db").read_bytes()
    assert not log_path(folder / "memory.db").exists()
    assert [is_whole(path) for path in outbox(folder)].count(True) == 1


def test_a_life_in_which_nothing_is_written_leaves_everything_as_it_is(folder: Path) -> None:
    with opened(folder) as database:
        store(database, "there")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with opened(folder):
        pass

    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_checkpoint_captures_first(folder: Path) -> None:
    with opened(folder) as database:
        store(database, "there")
        assert database.checkpoints.run()

        assert rebuilt(outbox(folder)).file() == (folder / "memory.db").read_bytes()


def test_the_times_of_files_grow_though_the_clock_is_set_back(folder: Path, clock: Clock) -> None:
    with Database(folder / "memory.db", clock=clock, capture=Capture(folder, clock=clock)) as database:
        for hour in (0, 3, -3, -3, 0, 7):
            clock.now += hour * 3_600_000_000
            store(database, f"at {hour}")
            database.flush()

    times = [header.timestamp_ms for header in rebuilt(outbox(folder)).headers]
    assert times == sorted(set(times))
    assert times[-1] == clock.now // 1000


def test_what_was_purged_is_in_no_later_file(folder: Path) -> None:
    chance = random.Random(0)
    with opened(folder) as database:
        ids = store(database, "zqsecret harbour " * 40, times=60)
        database.flush()
        for path in outbox(folder):
            path.unlink()
        for memory_id in chance.sample(ids, len(ids)):
            with database.write_group():
                memory.delete(database, MemoryDelete(id=memory_id, purge=True), REQUEST)
            database.flush()

        last = outbox(folder)[-1]
        assert b"zqsecret" not in b"".join(decode_file(last.read_bytes())[1].values())
        assert b"zqsecret" not in (folder / "memory.db").read_bytes()


def test_other_programs_of_the_group_may_read_what_lies_there(folder: Path) -> None:
    before = os.umask(0o027)
    try:
        with opened(folder) as database:
            store(database, "there")
    finally:
        os.umask(before)

    modes = {path.name: path.stat().st_mode & 0o777 for path in (*outbox(folder), folder / CAPTURED_FILE)}
    assert set(modes.values()) == {0o640}, modes


def test_nothing_stays_open(folder: Path) -> None:
    before = descriptors()
    with opened(folder) as database:
        store(database, "there")
        database.flush()

    assert descriptors() == before


@pytest.mark.parametrize("emptied", [False, True])
def test_a_killed_engine_is_continued(folder: Path, emptied: bool) -> None:
    with killed(folder) as database:
        store(database, "captured")
        database.flush()
        store(database, "not captured", times=3)
        if emptied:
            database.checkpoints.run()
            store(database, "in the next log")
    with opened(folder) as database:
        assert not position(database).whole_next
        store(database, "afterwards")

    assert [is_whole(path) for path in outbox(folder)].count(True) == 1
    assert rebuilt(outbox(folder)).file() == (folder / "memory.db").read_bytes()


def test_a_kill_right_after_the_log_was_emptied_is_continued_twice(folder: Path) -> None:
    with killed(folder) as database:
        store(database, "captured")
        database.checkpoints.run()
    with killed(folder) as database:
        store(database, "in a log of a new process")
    with opened(folder) as database:
        assert not position(database).whole_next

    assert rebuilt(outbox(folder)).file() == (folder / "memory.db").read_bytes()


def exchange_file(folder: Path) -> None:
    """Somebody brings back yesterday's file."""
    shutil.copy(folder.parent / "yesterday.db", folder / "memory.db")


def lose_log(folder: Path) -> None:
    log_path(folder / "memory.db").unlink()


def lose_position(folder: Path) -> None:
    (folder / CAPTURED_FILE).unlink()
    for path in outbox(folder):
        path.unlink()


def spoil_position(folder: Path) -> None:
    (folder / CAPTURED_FILE).write_bytes(os.urandom(FILE_BYTES))
    for path in outbox(folder):
        path.unlink()


@pytest.mark.parametrize("accident", [exchange_file, lose_log, lose_position, spoil_position])
def test_where_continuity_is_not_proved_the_next_file_is_whole(folder: Path, accident: object) -> None:
    with opened(folder) as database:
        store(database, "yesterday")
    shutil.copy(folder / "memory.db", folder.parent / "yesterday.db")
    if accident is exchange_file:
        with opened(folder) as database:
            store(database, "today", times=20)
    else:
        with killed(folder) as database:
            store(database, "today", times=20)
            database.flush()
    accident(folder)  # type: ignore[operator]
    with opened(folder) as database:
        assert position(database).whole_next
        database.flush()
        assert is_whole(outbox(folder)[-1])
        store(database, "after all")

    assert rebuilt(outbox(folder)).file() == (folder / "memory.db").read_bytes()


def test_one_torn_slot_leaves_the_position_of_before(folder: Path) -> None:
    with opened(folder) as database:
        store(database, "there")
    data = (folder / CAPTURED_FILE).read_bytes()
    newest = decode(data)
    assert newest is not None
    start = newest.serial % 2 * SLOT_BYTES
    torn = data[: start + 100] + bytes(SLOT_BYTES - 100) + data[start + SLOT_BYTES :]
    older = decode(torn)
    assert older is not None

    assert older.serial == newest.serial - 1


def test_a_draft_that_was_written_down_is_finished_and_another_is_not(folder: Path) -> None:
    with killed(folder) as database:
        store(database, "there")
        database.flush()
    (written,) = outbox(folder)
    draft = written.with_name(written.name + ".new")
    written.rename(draft)
    beyond = draft.with_name(file_name(2, 2) + ".new")
    shutil.copy(draft, beyond)
    (folder / "outbox" / "of somebody else").write_bytes(b"")
    with opened(folder):
        assert outbox(folder) == [written]
        assert not beyond.exists()
        assert not draft.exists()
        assert (folder / "outbox" / "of somebody else").exists()


def test_a_rebased_history_goes_on_after_that_transaction(folder: Path) -> None:
    with opened(folder) as database:
        store(database, "there", times=3)
        database.flush()
    with opened(folder, rebase=700) as database:
        assert outbox(folder) == []
        database.flush()
        store(database, "more")

    assert [path.name for path in outbox(folder)] == [file_name(701, 701), file_name(702, 702)]
    assert is_whole(outbox(folder)[0])
    assert decode_file(outbox(folder)[1].read_bytes())[0].min_txid == 702


def test_a_rebase_that_was_killed_in_the_middle_is_finished(folder: Path) -> None:
    with opened(folder) as database:
        store(database, "there")
    with PositionFile(folder) as file:
        file.write(txid=700, whole_next=True, rebasing=True)
    with opened(folder) as database:
        assert outbox(folder) == []
        database.flush()

    assert [path.name for path in outbox(folder)] == [file_name(701, 701)]


def test_switched_off_and_on_history_goes_on_with_a_whole_file(folder: Path) -> None:
    with opened(folder) as database:
        store(database, "captured")
    stand_down(folder)
    with Database(folder / "memory.db") as database:
        store(database, "in between")
    stand_down(folder)
    with opened(folder) as database:
        store(database, "captured again")

    assert [path.name for path in outbox(folder)] == [file_name(1, 1), file_name(2, 2)]
    assert rebuilt(outbox(folder)).file() == (folder / "memory.db").read_bytes()


def test_an_older_installations_file_is_captured_whole(folder: Path) -> None:
    with Database(folder / "memory.db") as database:
        store(database, "before there was a capture", times=30)
    with opened(folder) as database:
        store(database, "afterwards")

    assert rebuilt(outbox(folder)).file() == (folder / "memory.db").read_bytes()


def flip(path: Path, at: int) -> None:
    """Flip a bit past whoever has the file open."""
    with path.open("r+b", buffering=0) as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 4]))


def test_a_bit_that_flips_in_the_log_is_not_captured(folder: Path) -> None:
    with killed(folder) as database:
        store(database, "there")
        database.flush()
        captured = len(outbox(folder))
        frames = position(database).frames
        store(database, "damaged")
        flip(log_path(database.path), HEADER_BYTES + (frames + 1) * (FRAME_HEADER_BYTES + PAGE_BYTES) + 2000)

        with pytest.raises(LogDamaged) as error:
            database.flush()
        assert is_damage(error.value)
        with pytest.raises(LogDamaged):
            database.checkpoints.run()
        assert len(outbox(folder)) == captured


def test_a_bit_that_has_flipped_in_the_file_is_not_captured(folder: Path) -> None:
    with opened(folder) as database:
        store(database, "there", times=30)
    shutil.rmtree(folder / "outbox")
    (folder / "outbox").mkdir()
    (folder / CAPTURED_FILE).unlink()
    with killed(folder) as database:
        flip(database.path, 20 * PAGE_BYTES + 1000)

        with pytest.raises(PageDamaged) as error:
            database.flush()
        assert is_damage(error.value)
        assert list((folder / "outbox").iterdir()) == []


def test_a_page_that_was_damaged_before_it_was_overwritten_makes_the_next_file_whole(folder: Path) -> None:
    """Nobody reads it any more; but the checksum of the database can't go on from it."""
    with opened(folder) as database:
        store(database, "there", times=30)
        database.checkpoints.run()
        flushed = len(outbox(folder))
        store(database, "more")  # SQLite has all it needs of the file in memory
        first = min(span_of(database).pages.tolist())
        flip(database.path, (first - 1) * PAGE_BYTES + 1000)
        database.flush()

        assert len(outbox(folder)) == flushed + 1
        assert is_whole(outbox(folder)[-1])
    assert rebuilt(outbox(folder)).file() == (folder / "memory.db").read_bytes()


def test_pages_that_nothing_was_written_to_are_in_the_file_of_the_growth(folder: Path) -> None:
    """SQLite leaves out pages that it has only to count: here the last ones of the log are taken away from the capture."""
    with opened(folder) as database:
        store(database, "there")
        database.flush()
        store(database, "x" * 60_000, times=5)
        span, before = span_of(database), position(database)
        kept = span.pages % 7 != 0
        fewer = replace(span, pages=span.pages[kept], frames=span.frames[kept])
        increment = read_increment(source_of(database), fewer, before, {})

    grown = set(range(before.pages + 1, span.commit + 1))
    assert grown - set(fewer.pages.tolist())
    assert grown <= increment.pages.keys()
    numbers = [number for numbers, _ in increment.batches for number in numbers]
    assert numbers == sorted(numbers)


def test_a_large_database_is_not_captured_in_passing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "WHOLE_INLINE_BYTES_MAX", 10 * PAGE_BYTES)
    with opened(folder) as database:
        store(database, "there", times=30)
        capture = database.capture
        assert capture is not None
        database.flush()
        assert (outbox(folder), capture.needs_thread) == ([], True)
        assert database.checkpoints.run()  # of what is captured anew as a whole, nothing is lost with the log
        store(database, "and more")
        capture.flush_whole()
        assert (len(outbox(folder)), capture.is_behind) == (1, False)

    assert rebuilt(outbox(folder)).file() == (folder / "memory.db").read_bytes()


def test_a_whole_that_is_given_up_leaves_nothing(folder: Path) -> None:
    with opened(folder) as database:
        store(database, "there", times=5)
        looks = iter([False, True])  # one while the pages are summed, one while they are written
        with pytest.raises(GivenUp):
            database.capture._draft_whole(lambda: next(looks))  # type: ignore[union-attr]

        assert list((folder / "outbox").iterdir()) == []
