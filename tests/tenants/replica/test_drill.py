"""A drill restores from the store alone, opens what it restored in a box, and says what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from engine.catalogue.lifecycle import CheckReport
from engine.catalogue.memory import MemoryCreate
from engine.protocol import Request
from engine.tools.memory import create
from tenants.replica.history.rebuild import Rebuilt
from tenants.replica.layout import ltx_key
from tenants.replica.maintenance.care import Care
from tenants.replica.maintenance.drill import DrillReport, drill, read_verified, verified_key
from tenants.replica.maintenance.links import LINKS_MAX, BrokenChain, check_links
from tenants.replica.maintenance.sandboxed_check import CouldNotCheck, check_folder, seconds_for
from tenants.replica.objects import StoreUnavailable
from tests.tenants.replica.captured import CapturedDatabase
from tests.tenants.replica.histories import BEGINNING_MS, TENANT, History, content, tree_in_memory

REQUEST = Request(id=1, method="memory_create")
NOW_S = BEGINNING_MS / 1000 + 86_400


def sound(_: Path) -> CheckReport:
    """For histories whose pages are no SQLite database's."""
    return CheckReport()


class Drills:
    """A history in memory, and drills of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "staging"
        self.tree, self.store = tree_in_memory(folder / "spool")
        self.history = History(self.tree)
        self.used: list[Rebuilt] = []

    def run(self, seed: int = 1, retention_s: int | None = None) -> DrillReport:
        self.used.clear()
        report = drill(
            self.tree,
            self.folder,
            random=Random(seed),
            retention_s=retention_s,
            wall=lambda: NOW_S,
            check=sound,
            use=lambda _, rebuilt: self.used.append(rebuilt),
        )
        assert list(self.folder.iterdir()) == []
        return report


@pytest.fixture
def drills(tmp_path: Path) -> Drills:
    drills = Drills(tmp_path)
    drills.history.write_some(20)
    return drills


def test_what_is_whole_is_found_whole_and_that_is_written_down(drills: Drills) -> None:
    report = drills.run()

    assert report.error == ""
    assert report.links == 20
    assert [each.txid for each in drills.used] == [20]
    assert read_verified(drills.tree) == report.verified
    assert report.verified.verified_at == report.verified.tried_at == int(NOW_S * 1000)
    assert drills.history.times[1] <= report.verified.random_at <= drills.history.times[20]


def test_the_next_one_looks_at_what_has_come_since(drills: Drills) -> None:
    drills.run()
    drills.history.write_some(5)

    assert drills.run().links == 6
    assert drills.run().links == 1


def test_no_moment_before_the_retention_is_tried(drills: Drills) -> None:
    from_ms = drills.history.times[18]
    retention_s = int(NOW_S - from_ms / 1000)

    assert min(drills.run(seed, retention_s).verified.random_at for seed in range(20)) >= from_ms
    # All of it may lie longer ago: then it is the newest.
    assert drills.run(1, 60).verified.random_at == drills.history.times[20]


@pytest.mark.parametrize("damage", ["bit", "cut", "gone", "swapped"])
def test_damage_is_told_and_the_last_time_it_was_whole_stays(drills: Drills, damage: str) -> None:
    whole = drills.run().verified
    drills.history.write_some(1)
    objects, key, other = drills.store.objects, ltx_key(TENANT, 0, 7, 7), ltx_key(TENANT, 0, 8, 8)
    if damage == "bit":
        body = bytearray(objects[key].body)
        body[150] ^= 4
        objects[key].body = bytes(body)
    elif damage == "cut":
        objects[key].body = objects[key].body[:-20]
    elif damage == "gone":
        del objects[key]
    else:
        objects[key], objects[other] = objects[other], objects[key]
    report = drills.run()

    assert report.error
    assert drills.used == []
    assert report.verified.verified_at == whole.verified_at
    assert (report.verified.txid, read_verified(drills.tree)) == (whole.txid, report.verified)


def test_what_stands_beside_a_file_is_compared(drills: Drills) -> None:
    drills.store.objects[ltx_key(TENANT, 0, 20, 20)].metadata["engram-checksum"] = "8000000000000001"

    assert "transaction 20" in drills.run().error


def test_a_link_that_leads_elsewhere_is_found(drills: Drills) -> None:
    drills.store.objects[ltx_key(TENANT, 0, 9, 9)].metadata["engram-previous"] = "0" * 64

    with pytest.raises(BrokenChain, match="transaction 9 follows on another file"):
        check_links(drills.tree, after_txid=0, until_txid=20, random=Random(1))
    assert "transaction 9" in drills.run().error


def test_of_many_links_a_bounded_piece_is_looked_at(tmp_path: Path) -> None:
    tree, store = tree_in_memory(tmp_path / "spool")
    history = History(tree)
    history.write_some(LINKS_MAX + 100)
    store.objects[ltx_key(TENANT, 0, 2, 2)].metadata["engram-previous"] = "0" * 64
    before = store.requests["head"]

    broken = 0
    for seed in range(20):
        try:
            assert check_links(tree, after_txid=0, until_txid=history.txid, random=Random(seed)) == LINKS_MAX
        except BrokenChain:
            broken += 1
    assert broken < 20
    assert store.requests["head"] - before == 20 * LINKS_MAX


def test_a_verdict_of_the_box_counts(drills: Drills) -> None:
    def damaged(_: Path) -> CheckReport:
        return CheckReport(problems=["row 3 missing from index\n\x1b[2J"])

    def none(_: Path) -> CheckReport:
        raise CouldNotCheck("the check ended with status -9 and no report")

    for check, words in ((damaged, r"is damaged: row 3 missing from index\n\x1b[2J"), (none, "status -9")):
        report = drill(drills.tree, drills.folder, random=Random(1), check=check)
        assert words in report.error
        assert report.error.isprintable()


def test_a_store_that_does_not_answer_is_no_verdict(drills: Drills) -> None:
    def down(_: str, *, bytes_max: int) -> None:
        raise StoreUnavailable

    drills.run()
    real, drills.store.read = drills.store.read, down  # type: ignore[method-assign, assignment]
    with pytest.raises(StoreUnavailable):
        drills.run()
    drills.store.read = real  # type: ignore[method-assign]
    assert read_verified(drills.tree) is not None


def test_a_record_that_makes_no_sense_is_none(drills: Drills) -> None:
    drills.store.replace(verified_key(TENANT), b'{"verified_at": "soon"}', tag=None)

    assert read_verified(drills.tree) is None
    assert drills.run().error == ""


def test_nothing_to_restore_is_an_error(tmp_path: Path) -> None:
    assert Drills(tmp_path).run().error


@pytest.fixture
def captured(tmp_path: Path) -> Iterator[CapturedDatabase]:
    tree, _ = tree_in_memory(tmp_path / "spool")
    (tmp_path / "database").mkdir()
    with CapturedDatabase(tmp_path / "database", tree) as database:
        for number in range(12):
            with database.database.write_group():
                create(database.database, MemoryCreate(content=f"{number} cats on the office printer"), REQUEST)
            database.ship()
        yield database


def test_a_real_database_is_opened_in_a_box_and_found_sound(captured: CapturedDatabase, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir(exist_ok=True)
    care = Care(tmp_path, random=Random(3))
    proof = care.prove(captured.tree, 1, pages=1, retention_s=None)

    assert proof.report.error == ""
    assert proof.report.verified.txid == captured.txid
    assert proof.snapshot_at
    assert [entry.max_txid for entry in captured.tree.entries(9)] == [captured.txid]
    assert not care.prove(captured.tree, 1, pages=1, retention_s=None).snapshot_at


def test_a_database_whose_pages_are_wrong_is_found_though_all_checksums_agree(tmp_path: Path) -> None:
    """Its owner wrote a history in perfect order, of something that is no sound database."""
    tree, _ = tree_in_memory(tmp_path / "spool")
    history = History(tree, page_size=4096)
    history.write({1: b"SQLite format 3\0" + content(1, 4096)[16:], 2: content(2, 4096)})

    assert "damaged" in drill(tree, tmp_path / "staging", random=Random(1)).error


def test_a_small_database_does_not_keep_the_others_for_hours() -> None:
    """An engine that was taken over may leave one whose check never ends."""
    assert seconds_for(0) <= seconds_for(10 * 2**20) < 600
    assert seconds_for(50 * 10**9) >= 3600


def test_a_folder_without_a_verdict(tmp_path: Path) -> None:
    with pytest.raises(CouldNotCheck):
        check_folder(tmp_path / "nowhere")
