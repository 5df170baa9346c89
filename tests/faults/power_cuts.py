"""Cuts the power of a working database again and again and looks at what is left: ``python -m tests.faults.power_cuts``.

A life is a piece of a customer's work on a recorded disk. It is cut at random moments; each image that a cut may have left is
opened as an engine opens it and must hold one of two promises, whole: the last that was given, or the one that was in the
making. The files in its outbox, behind those that had been carried away, must be its history. The next life begins on one of
those images, so that the marks of one power cut meet another.

Prints one JSON object; ``lost``, ``half``, ``refused``, ``unsound``, ``traces`` and ``history`` are counts of images.
"""

from __future__ import annotations

import argparse
import bisect
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import apsw

from engine.capture import Capture
from engine.catalogue.memory import MemoryCreate
from engine.check import check
from engine.ltx import LtxError
from engine.store.connection import CHECKSUM_BYTES, open_writer, preload
from engine.store.database import Database
from engine.store.migration import MIGRATIONS, migrate
from engine.store.quarantine import is_damage
from engine.tools import memory
from tests.engine.history import Replica, new_folder, outbox
from tests.engine.importing import write
from tests.engine.test_migrations import FILLED
from tests.faults.power_disk import Disk
from tests.faults.power_recording import Journal, Recorder
from tests.faults.power_workload import REQUEST, Customer, Promise, Shipped, seen, sum_of_rows

GROUPS = 25
"""Of one life: some reach into a second checkpoint, most don't."""

CUTS_PER_LIFE = 40

KINDS = ("honest", "lying", "normal")
"""A disk that keeps what it has synced; one that answers a sync at once; and SQLite told to sync less than we have it do."""


@dataclass
class Life:
    """What was done, and what was promised meanwhile."""

    journal: Journal
    promises: list[Promise]
    shipped: list[Shipped]


@dataclass
class Survivor:
    """What a cut has left, which promise it keeps, and what had been carried away before."""

    image: Mapping[str, bytes]
    promise: Promise
    shipped: list[Shipped]


class Cuts:
    """One run. Everything in it follows from its seed."""

    def __init__(self, kind: str, seed: int, folder: Path) -> None:
        self._kind = kind
        self._chance = random.Random(seed)
        self._recorder = Recorder()
        self._folder = folder
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        """What is wrong with the first image of each kind that breaks a promise, and where it was kept."""

    def run(self, cuts: int) -> None:
        """Cut so often."""
        preload()
        survivor: Survivor | None = None
        while self.counts["cuts"] < cuts:
            life = self._live(survivor)
            survivor = self._cut(life, min(CUTS_PER_LIFE, cuts - self.counts["cuts"]))
            if self._chance.random() < 0.3:
                survivor = None

    def _live(self, survivor: Survivor | None) -> Life:
        folder = self._emptied("life")
        customer = Customer(folder, self._chance, length=lambda: len(journal.events), prepare=self._prepare)
        if survivor is not None:
            image, known = survivor.image, survivor.promise
            _lay_out(folder, image)
            customer.shipped = [replace(file, after=0) for file in survivor.shipped]
            customer.stored, customer.trashed, customer.purged = dict(known.stored), dict(known.trashed), set(known.purged)
            customer.now = known.now
        elif self._chance.random() < 0.3:
            customer.stored = _old_database(folder / "memory.db", self._chance.choice(list(FILLED)))
            customer.trashed = {4: "Was thrown away."}
        journal = Journal(folder)
        with self._recorder.recording(journal):
            customer.work(GROUPS)
        self.counts["lives"] += 1
        self.counts["promises"] += len(customer.promises)
        # What holds before the first group holds from the start: opening a database adds nothing to it.
        customer.promises[0] = customer.promises[0].from_the_start()
        return Life(journal, customer.promises, customer.shipped)

    def _prepare(self, database: Database) -> None:
        if self._kind == "normal":
            database.connection.pragma("synchronous", "normal")

    def _cut(self, life: Life, count: int) -> Survivor | None:
        """Cut one life at so many moments; return one of the images that kept its promise, and the promise."""
        disk = Disk(life.journal.begun_with, honest=self._kind != "lying")
        events = life.journal.events
        moments = sorted(self._chance.randint(0, len(events)) for _ in range(count))
        survivors = []
        done = 0
        for moment in moments:
            for event in events[done:moment]:
                disk.apply(event)
            done = moment
            image = disk.cut(self._chance)
            kept = self._judge(life, moment, image)
            if kept is not None:
                shipped = [file for file in life.shipped if file.after <= moment]
                survivors.append(Survivor(image, kept, shipped))
        return self._chance.choice(survivors) if survivors else None

    def _judge(self, life: Life, moment: int, image: Mapping[str, bytes]) -> Promise | None:
        """Return the promise that the image keeps; otherwise count what became of it."""
        index = bisect.bisect_right([promise.after for promise in life.promises], moment) - 1
        folder = self._emptied("image")
        _lay_out(folder, image)
        shipped = [file for file in life.shipped if file.after <= moment]
        verdict = _verdict(folder, life.promises, index, shipped)
        self.counts["cuts"] += 1
        if isinstance(verdict, Promise):
            self.counts["ahead"] += verdict is not life.promises[index]
            return verdict
        kind, detail = verdict
        self.counts[kind] += 1
        if kind not in self.first:
            _lay_out(kept := self._emptied(kind), image)
            self.first[kind] = f"{detail} (moment {moment} of {len(life.journal.events)}, image in {kept})"
        return None

    def _emptied(self, name: str) -> Path:
        folder = self._folder / name
        shutil.rmtree(folder, ignore_errors=True)
        return new_folder(folder)


def _verdict(folder: Path, promises: list[Promise], index: int, shipped: list[Shipped]) -> Promise | tuple[str, str]:
    """Return the promise that the image in ``folder`` keeps, or what is wrong with it, in a word and in many."""
    path, given = folder / "memory.db", promises[index]
    try:
        with Database(path, clock=lambda: given.now, capture=Capture(folder)) as database:
            bare = database.connection.reserve_bytes() != CHECKSUM_BYTES
            rows = sum_of_rows(database)
            kept = next((promise for promise in promises[index : index + 2] if promise.rows == rows), None)
            if kept is None:
                older = [number for number, promise in enumerate(promises[:index]) if promise.rows == rows]
                return ("lost", f"{index - older[-1]} groups") if older else ("half", "rows of no moment")
            if seen(database) != kept.stored or seen(database, in_trash=True) != kept.trashed:
                return "half", "not what the customer was told"
            with write(database):
                memory.create(database, MemoryCreate(content="written afterwards"), REQUEST)
    except Exception as error:
        if isinstance(error, apsw.Error) or is_damage(error):
            return "refused", repr(error)
        raise
    return _flaw(folder, kept, shipped, bare=bare) or kept


def _flaw(folder: Path, kept: Promise, shipped: list[Shipped], *, bare: bool) -> tuple[str, str] | None:
    """Return what is wrong with the files of a database that keeps its promise."""
    if problems := check(folder / "memory.db").problems + ["the pages have no checksums"] * bare:
        return "unsound", "; ".join(problems)
    if wrong := _wrong_history(folder, shipped):
        return "history", wrong
    left = b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())
    if any(word.encode() in left for word in kept.purged):
        return "traces", "the text of a purged memory is in a file"
    return None


def _wrong_history(folder: Path, shipped: list[Shipped]) -> str:
    """Return what is wrong with the files that were carried away and those that wait, taken as the database's history."""
    replica = Replica()
    known = {file.name: file.data for file in shipped}
    try:
        for name, data in known.items():
            replica.apply(name, data)
        for path in outbox(folder):
            if path.name not in known:
                replica.apply(path.name, path.read_bytes())
            elif known[path.name] != path.read_bytes():
                return "a file that had been carried away is there again, and another"
    except (AssertionError, LtxError) as error:
        return repr(error)
    return "" if replica.file() == (folder / "memory.db").read_bytes() else "another database"


def _lay_out(folder: Path, image: Mapping[str, bytes]) -> None:
    for name, content in image.items():
        (folder / name).write_bytes(content)


def _old_database(path: Path, schema: int) -> dict[int, str]:
    """Make a database of an earlier program, half of it in the log; return what its customer sees."""
    connection = open_writer(path)
    migrate(connection, MIGRATIONS[:schema])
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    with connection:
        connection.execute(FILLED[schema])
    query = "SELECT id, content FROM memories WHERE deleted_at IS NULL AND tier = 'permanent'"
    stored = {int(row[0]): str(row[1]) for row in connection.execute(query).fetchall()}
    connection.close()
    path.with_name("memory.db-shm").unlink(missing_ok=True)
    return stored


def main(arguments: list[str]) -> int:
    """Make one run and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=KINDS, default="honest")
    parser.add_argument("--cuts", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="engram-power-"))
    cuts = Cuts(given.kind, given.seed, folder)
    cuts.run(given.cuts)
    print(json.dumps({"kind": given.kind, "seed": given.seed, **cuts.counts, "first": cuts.first}))
    if not cuts.first:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
