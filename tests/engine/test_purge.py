"""What is purged is in no file, whatever else goes on: a snapshot that is read, an engine that is killed in between."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.catalogue.memory import MemoryCreate, MemoryDelete, MemoryUpdate
from engine.housekeeper import Housekeeper
from engine.protocol import Request
from engine.store.database import Database
from engine.tools import memory

REQUEST = Request(id=1, method="")
SECRET = "zqsecret"


def purge(database: Database) -> None:
    with database.write_group():
        memory_id = memory.create(database, MemoryCreate(content=f"a {SECRET} to be purged"), REQUEST).id
    with database.write_group():
        memory.delete(database, MemoryDelete(id=memory_id, purge=True), REQUEST)


def holds_secret(folder: Path) -> bool:
    return any(SECRET.encode() in path.read_bytes() for path in folder.iterdir())


def test_a_purge_leaves_nothing_in_the_log(tmp_path: Path) -> None:
    with Database(tmp_path / "memory.db") as database:
        purge(database)

        assert not holds_secret(tmp_path)
        assert not database.owes_erasure


def as_a_killed_engine_leaves_it(folder: Path, to: Path) -> Database:
    """Open a copy of a database whose purge has been committed, but not yet erased from the log."""
    folder.mkdir()
    with Database(folder / "memory.db") as database, database.snapshot():
        purge(database)
        shutil.copytree(folder, to)
    assert holds_secret(to)
    return Database(to / "memory.db")


def test_the_first_write_after_a_kill_makes_up_for_it(tmp_path: Path) -> None:
    """Whoever purged was not answered, and asks again: that is a write."""
    with as_a_killed_engine_leaves_it(tmp_path / "before", tmp_path / "after") as database:
        with database.write_group():
            pass

        assert not holds_secret(tmp_path / "after")


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_so_does_an_engine_that_nobody_writes_to(tmp_path: Path) -> None:
    with as_a_killed_engine_leaves_it(tmp_path / "before", tmp_path / "after") as database:
        with Housekeeper(database, failed=lambda error: pytest.fail(str(error))):
            await _until(lambda: not database.owes_erasure)

        assert not holds_secret(tmp_path / "after")


def test_no_word_of_before_a_change_is_left_in_the_index_of_pages(tmp_path: Path) -> None:
    """Each leaf page of the word index is named by a word's beginning: that word must still be in it, whatever was changed."""
    chance = random.Random(3)
    with Database(tmp_path / "memory.db") as database:
        living: list[int] = []
        for number in range(3000):
            text = f"w{chance.randrange(3)}zz{number:06} about the harbour, the lighthouse and number {number}"
            with database.write_group():
                if len(living) < 10 or chance.random() < 0.6:
                    living.append(memory.create(database, MemoryCreate(content=text), REQUEST).id)
                elif chance.random() < 0.5:
                    memory.update(database, MemoryUpdate(id=chance.choice(living), content=text), REQUEST)
                else:
                    gone = living.pop(chance.randrange(len(living)))
                    memory.delete(database, MemoryDelete(id=gone, purge=True), REQUEST)
        separators = {term for (term,) in database.connection.execute("SELECT CAST(term AS TEXT) FROM memories_fts_idx")}
        words = {f"0{term}" for (term,) in database.connection.execute("SELECT term FROM memories_vocabulary")}

    assert len(separators) > 5
    assert [each for each in separators if each and not any(word.startswith(each) for word in words)] == []
