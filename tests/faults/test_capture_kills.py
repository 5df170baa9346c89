"""An engine is killed between every two steps of its capture: whatever it left, the next one goes on, and no page is lost.

Each step is a system call that changes something. A child of this process works on a database, and ends in the place of one of
its calls as ``kill -9`` would end it there: once for every call that a whole life makes.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.capture import Capture
from engine.catalogue.memory import MemoryCreate, MemoryDelete
from engine.protocol import Request
from engine.store.connection import preload
from engine.store.database import Database
from engine.tools import memory
from tests.engine.history import Replica, new_folder, outbox

REQUEST = Request(id=1, method="")
CALLS = ("open", "write", "pwrite", "fsync", "fdatasync", "ftruncate", "rename", "unlink")
"""With which the capture and the checkpointer change files past SQLite."""

KILLED = 9
FINISHED = 0


@pytest.fixture(scope="module", autouse=True)
def _extensions() -> None:
    preload()


def live(folder: Path) -> None:
    """One engine's life: every kind of capture is in it."""
    with Database(folder / "memory.db", capture=Capture(folder)) as database:
        ids = []
        for number in range(3):
            with database.write_group():
                ids.append(memory.create(database, MemoryCreate(content=f"first {number} " + "harbour " * 200), REQUEST).id)
            database.flush()
        with database.write_group():
            memory.create(database, MemoryCreate(content="not captured at once"), REQUEST)
        database.checkpoints.run()
        with database.write_group():
            memory.delete(database, MemoryDelete(id=ids[0], purge=True), REQUEST)
        with database.write_group():
            memory.create(database, MemoryCreate(content="last"), REQUEST)
        database.flush()
        database.connection.execute("VACUUM")


def rebase(folder: Path) -> None:
    """A life that goes on with another history."""
    with Database(folder / "memory.db", capture=Capture(folder, rebase=0)) as database:
        database.flush()
        with database.write_group():
            memory.create(database, MemoryCreate(content="of the new history"), REQUEST)


def end_at(call: int, work: Callable[[Path], None], folder: Path) -> int:
    """Do ``work`` in a child that ends in the place of that call; return how it ended."""
    pid = os.fork()
    if pid == 0:
        try:
            _count_calls(call)
            work(folder)
            os._exit(FINISHED)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _count_calls(last: int) -> None:
    calls = 0

    def counted(plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == last:
                os._exit(KILLED)
            return plain(*arguments, **named)

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


def finish(folder: Path, replica: Replica) -> None:
    """The next engine goes on where that one was, and ends in order; what it leaves is the replica's."""
    capture = Capture(folder)
    with Database(folder / "memory.db", capture=capture) as database:
        assert not capture.position.whole_next or capture.position.txid == 0
        with database.write_group():
            memory.create(database, MemoryCreate(content="of the next engine"), REQUEST)
        database.flush()
        replica.ship(folder)
        with database.write_group():
            memory.create(database, MemoryCreate(content="and one more"), REQUEST)
    replica.ship(folder)

    assert replica.file() == (folder / "memory.db").read_bytes()
    assert [path.name for path in (folder / "outbox").iterdir()] == []


@pytest.mark.parametrize("shipped", [False, True])
def test_a_kill_at_any_step_loses_no_page(tmp_path: Path, shipped: bool) -> None:
    """``shipped``: what the killed engine had put into its outbox is taken away before the next one starts."""
    call, status = 0, KILLED
    while status == KILLED:
        call += 1
        folder = new_folder(tmp_path / str(call))
        status = end_at(call, live, folder)
        replica = Replica()
        if shipped:
            replica.ship(folder)
        finish(folder, replica)
        shutil.rmtree(folder)

    assert status == FINISHED
    assert call > 60


def test_a_kill_at_any_step_of_a_new_history_leaves_that_one(tmp_path: Path) -> None:
    old = new_folder(tmp_path / "old")
    live(old)
    assert len(outbox(old)) > 1
    call, status = 0, KILLED
    while status == KILLED:
        call += 1
        folder = tmp_path / str(call)
        shutil.copytree(old, folder)
        status = end_at(call, rebase, folder)
        if status == KILLED:
            rebase(folder)  # whoever asked for it asks again
        finish(folder, Replica())
        shutil.rmtree(folder)

    assert status == FINISHED
    assert call > 15
