"""The ballast: given up when the disk is full, taken back when it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tenants.host.ballast import Ballast
from tests.faults.failing_disk import fill, free_bytes, needs_root, small_disk

pytestmark = needs_root


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 32) as folder:
        yield folder


def test_it_holds_a_small_part_of_the_disk(disk: Path) -> None:
    before = free_bytes(disk)
    ballast = Ballast(disk)
    ballast.look()

    assert ballast.is_held
    assert before - free_bytes(disk) == pytest.approx(ballast.size, abs=8192)
    assert ballast.size <= before // 4


def test_a_full_disk_has_room_again_when_it_is_let_go(disk: Path) -> None:
    ballast = Ballast(disk)
    ballast.look()
    fill(disk / "a stranger's")
    assert free_bytes(disk) == 0

    ballast.look()

    assert not ballast.is_held
    assert free_bytes(disk) >= ballast.size


def test_it_is_taken_again_when_there_is_room_and_not_before(disk: Path) -> None:
    ballast = Ballast(disk)
    ballast.look()
    fill(disk / "a stranger's")
    ballast.look()
    ballast.look()
    assert not ballast.is_held

    (disk / "a stranger's").unlink()
    ballast.look()

    assert ballast.is_held


def test_one_that_was_left_behind_is_known_again(disk: Path) -> None:
    Ballast(disk).look()
    taken = (disk / "ballast").stat()
    second = Ballast(disk)
    second.look()

    assert second.is_held
    assert (disk / "ballast").stat().st_mtime_ns == taken.st_mtime_ns


def test_a_file_without_blocks_is_not_taken_for_it(disk: Path) -> None:
    ballast = Ballast(disk)
    with (disk / "ballast").open("wb") as sparse:
        sparse.truncate(ballast.size)
    before = free_bytes(disk)

    ballast.look()

    assert ballast.is_held
    assert before - free_bytes(disk) >= ballast.size


def test_a_disk_that_was_full_from_the_start_is_not_held(disk: Path) -> None:
    fill(disk / "a stranger's")
    ballast = Ballast(disk)
    ballast.look()

    assert not ballast.is_held
    assert not (disk / "ballast").exists()


def test_a_link_in_its_place_is_not_written_through(disk: Path) -> None:
    (disk / "precious").write_text("kept")
    (disk / "ballast").symlink_to(disk / "precious")
    ballast = Ballast(disk)
    ballast.look()

    assert not ballast.is_held
    assert (disk / "precious").read_text() == "kept"
