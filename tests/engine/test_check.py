"""``python -m engine.check`` on a database that was restored to see whether it can be, as its owner and in a box."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from engine.catalogue.lifecycle import CheckReport
from engine.folder import FolderLock
from tests.engine.restoring import PAGE_BYTES, make
from tests.engine.test_intake import changed, create, flipped


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    """A database with two memories."""
    return make(tmp_path / "source", create("of the harbour"), create("of the lighthouse"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as the replicator makes them for its drills."""
    folder = tmp_path / "staging" / "drill-1"
    folder.mkdir(parents=True, mode=0o700)
    return folder


def check(folder: Path, data: bytes) -> tuple[int, CheckReport | None]:
    (folder / "memory.db").write_bytes(data)
    outcome = subprocess.run(
        [sys.executable, "-P", "-m", "engine.check", str(folder)],
        env={"PATH": os.environ["PATH"], "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
    )
    assert (folder / "memory.db").read_bytes() == data
    assert b"harbour" not in outcome.stdout + outcome.stderr
    return outcome.returncode, msgspec.json.decode(outcome.stdout, type=CheckReport) if outcome.stdout else None


def test_a_sound_database_is_found_sound_and_is_not_changed(folder: Path, data: bytes) -> None:
    assert check(folder, data) == (0, CheckReport(memories=2, bytes=len(data)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_so_it_is_as_the_service_user_whose_folder_it_is(folder: Path, data: bytes) -> None:
    account = pwd.getpwnam("daemon")
    os.chown(folder, account.pw_uid, account.pw_gid)

    (folder / "memory.db").write_bytes(data)
    os.chown(folder / "memory.db", account.pw_uid, account.pw_gid)
    assert check(folder, data) == (0, CheckReport(memories=2, bytes=len(data)))
    assert (folder / "engine.lock").stat().st_uid == account.pw_uid


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DROP TABLE memory_versions", "its tables are not those of its schema"),
        ("UPDATE counters SET value = 3", "1 memories by which the counter is wrong"),
        ("DROP TRIGGER memories_text_updated; UPDATE memories SET content = 'of the sea'", "the word index does not hold"),
    ],
)
def test_what_is_not_sound_is_told(folder: Path, data: bytes, tmp_path: Path, statement: str, problem: str) -> None:
    status, report = check(folder, changed(data, tmp_path, statement))

    assert status == 1
    assert report is not None
    assert any(problem in each for each in report.problems)


@pytest.mark.parametrize("change", ["flipped", "cut", "nonsense"])
def test_damage_is_told(folder: Path, data: bytes, change: str) -> None:
    damaged = {"flipped": flipped(data, 3 * PAGE_BYTES + 1), "cut": data[: 9 * PAGE_BYTES], "nonsense": b"nonsense " * 1000}
    status, report = check(folder, damaged[change])

    assert status == 1
    assert report is not None
    assert report.problems


def test_what_can_not_be_checked_is_not_called_unsound(folder: Path, data: bytes) -> None:
    with FolderLock(folder, wait_s=0):
        assert check(folder, data) == (2, None)
