"""An engine that takes in a restored database is killed after each change that it makes: the next one finishes the work."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import engine
from engine.catalogue.memory import MemoryCreate, MemoryDelete
from engine.catalogue.recovery import RESTORED_FILE, Restored
from engine.intake import NotTakenIn, take_in
from engine.ltx import file_name
from engine.protocol import Request
from engine.store.database import Database
from engine.store.quarantine import Quarantine
from engine.tools import memory
from tests.engine.restoring import Kind, contents, hand_over, make, note_for, outcome, position

REQUEST = Request(id=1, method="")
SECRET = "zqsecret"

WATCHED = tuple(str(Path(engine.__file__).parent / name) for name in ("intake", "capture", "store/purges.py"))
"""The lines that count: what is done to files, in which order. SQLite has its own promises."""


def create(content: str) -> Callable[[Database], object]:
    return lambda database: memory.create(database, MemoryCreate(content=content), REQUEST)


def purge(memory_id: int) -> Callable[[Database], object]:
    return lambda database: memory.delete(database, MemoryDelete(id=memory_id, purge=True), REQUEST)


def lines(work: Callable[[], None], before: Callable[[], None]) -> None:
    """Do ``work``, and call ``before`` ahead of each line that is watched and has not been seen yet."""
    seen: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        place = (frame.f_code.co_filename, frame.f_lineno)
        if not place[0].startswith(WATCHED):
            return None
        if event == "line" and place not in seen:
            seen.add(place)
            before()
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)


def watched(folder: Path, before: Callable[[int], None]) -> None:
    """Take in what is in the folder, and tell ``before`` which line comes, where something has changed since the one before."""
    number, known = 0, ""

    def look() -> None:
        nonlocal number, known
        found = str(sorted((str(path), path.lstat().st_mtime_ns, path.lstat().st_size) for path in folder.rglob("*")))
        if found != known:
            number, known = number + 1, found
            before(number)

    with contextlib.suppress(NotTakenIn):
        lines(lambda: take_in(folder), look)


def killed_at(number: int, folder: Path) -> bool:
    """Take in what is in the folder, in a process that is killed at the ``number``-th change; whether it came so far."""
    pid = os.fork()
    if pid == 0:
        watched(folder, lambda now: os.kill(os.getpid(), signal.SIGKILL) if now == number else None)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status == -signal.SIGKILL


def kills(prepared: Path, tmp_path: Path) -> Iterator[Path]:
    """Yield a copy of the prepared folder for each change after which an engine was killed in it."""
    number = 0
    while True:
        number += 1
        folder = tmp_path / f"killed-at-{number}"
        shutil.copytree(prepared, folder)
        if not killed_at(number, folder):
            break
        yield folder
        shutil.rmtree(folder)
    assert number > 5


def state(folder: Path) -> dict[str, Any]:
    """Return all that is left in a folder, as far as it does not depend on how often something was tried."""
    where = position(folder)
    return {
        "names": sorted(str(path.relative_to(folder)) for path in folder.rglob("*")),
        "outcome": outcome(folder),
        "txid": where and (where.txid, where.whole_next, where.frames),
        "contents": contents(folder),
        "secret": any(SECRET.encode() in path.read_bytes() for path in folder.iterdir() if path.is_file()),
    }


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A tenant's folder with a database, its log, a quarantine and a file that waits."""
    folder = tmp_path / "prepared"
    make(folder, create("kept"), create(f"a {SECRET}"), purge(2), create("made since"))
    shutil.copytree(folder, tmp_path / "live")
    with Database(tmp_path / "live" / "memory.db") as database, database.snapshot():
        with database.write_group():
            purge(1)(database)
        for path in (tmp_path / "live").glob("memory.db*"):
            shutil.copy(path, folder)
    (folder / "outbox" / file_name(3, 3)).write_bytes(b"a file")
    Quarantine(folder).enter(ValueError("found by somebody"))
    return folder


@pytest.mark.parametrize("kind", ["same", "earlier", "fork"])
def test_wherever_it_is_killed_the_next_start_finishes_it(prepared: Path, tmp_path: Path, kind: Kind) -> None:
    restored = make(tmp_path / "source", create("kept"), create(f"a {SECRET}"))
    if kind == "fork":
        for path in prepared.glob("memory.db*"):
            path.unlink()
    hand_over(prepared, restored, note_for(restored, kind, txid=7))
    shutil.copytree(prepared, tmp_path / "undisturbed")
    take_in(tmp_path / "undisturbed")
    expected = state(tmp_path / "undisturbed")

    assert expected["outcome"] == Restored(id="restore-1", memories={"same": 2, "earlier": 0, "fork": 2}[kind])
    for folder in kills(prepared, tmp_path):
        take_in(folder)
        assert state(folder) == expected


@pytest.mark.parametrize("kind", ["same", "earlier"])
def test_wherever_a_refusal_is_killed_the_present_database_is_untouched(prepared: Path, tmp_path: Path, kind: Kind) -> None:
    restored = make(tmp_path / "source", create("kept"))
    present = {path.name: path.read_bytes() for path in prepared.iterdir() if path.is_file()}
    hand_over(prepared, restored[:-1] + b"x", note_for(restored, kind))

    for folder in kills(prepared, tmp_path):
        with contextlib.suppress(NotTakenIn):
            take_in(folder)
        assert outcome(folder).error
        (folder / RESTORED_FILE).unlink()
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == present
