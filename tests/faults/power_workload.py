"""What a customer does to one database, group by group, and what they were promised at each moment.

Each group is one acknowledged transaction of the real ``Database``, made by the real tools. Beside it a ledger is kept of what
was answered, in plain Python, and the rows of all tables are summed up: a cut may leave one promise or the next, nothing else.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.capture import Capture
from engine.catalogue.batch import MemoryBatch
from engine.catalogue.history import MemoryRestore
from engine.catalogue.memory import MemoryCreate, MemoryDelete, MemoryGet, MemoryList, MemoryUpdate
from engine.protocol import Embedding, Passage, RemoteError, Request
from engine.store.database import Database
from engine.tools import batch, history, import_steps, memory
from tests.engine import importing
from tests.engine.history import outbox
from tests.engine.test_migrations import DIMENSIONS, MODEL, vector

START = 1_790_000_000_000_000
REQUEST = Request(id=1, method="")

_TABLES = """
    SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'memories\\_fts%' ESCAPE '\\' ORDER BY name
"""


@dataclass(frozen=True)
class Promise:
    """What holds from one moment on."""

    after: int
    """How much the journal held when it was given."""
    now: int
    """What the clock said."""
    rows: str
    """Sum of all rows of all tables."""
    stored: dict[int, str]
    """What a customer sees: the texts of what is neither deleted nor expired."""
    trashed: dict[int, str]
    purged: frozenset[str]
    """First words of texts that nobody may find any more, in no file."""

    def from_the_start(self) -> Promise:
        """Return the same, as given before anything was done."""
        return replace(self, after=0)


@dataclass(frozen=True)
class Shipped:
    """A file that was found in the outbox and carried away."""

    after: int
    """How much the journal held then."""
    name: str
    data: bytes


@dataclass
class Customer:
    """Works on the database in ``folder``. ``length`` tells how much the journal holds."""

    folder: Path
    chance: random.Random
    length: Callable[[], int]
    prepare: Callable[[Database], None] = lambda database: None
    """Does something to each database that is opened."""
    now: int = START
    promises: list[Promise] = field(default_factory=list)
    stored: dict[int, str] = field(default_factory=dict)
    trashed: dict[int, str] = field(default_factory=dict)
    purged: set[str] = field(default_factory=set)
    staged: int | None = None
    shipped: list[Shipped] = field(default_factory=list)
    _texts: int = 0

    def work(self, groups: int) -> None:
        """Carry out so many groups, a promise after each."""
        self.database = self._open()
        self._promise()
        for _ in range(groups):
            self.now += self.chance.randrange(1, 5_000_000)
            self.chance.choice(_STEPS)(self)
            self._promise()
            self.database.checkpoints.run_if_due()
        self.database.abandon()

    # each of these is one group, but for those that are none

    def create(self) -> None:
        """Several customers' requests of one turn: each in its savepoint, one of them refused."""
        texts = [self._text() for _ in range(self.chance.randint(1, 5))]
        created = {}
        with self.database.write_group():
            for text in texts:
                with self.database.savepoint():
                    created[self._create(text)] = text
            self._refused(MemoryCreate(content=self._text(), tier="permanent", ttl_seconds=5))
        self.stored |= created

    def create_many(self) -> None:
        wanted = [MemoryCreate(content=self._text()) for _ in range(self.chance.randint(20, 60))]
        with importing.write(self.database):
            done = batch.batch(self.database, MemoryBatch(create=wanted), REQUEST)
        self.stored |= {one.id: one.content for one in done.created}

    def create_for_a_while(self) -> None:
        with importing.write(self.database):
            arguments = MemoryCreate(content=self._text(), tier="daily", ttl_seconds=self.chance.randint(1, 20))
            memory.create(self.database, arguments, REQUEST)

    def change(self) -> None:
        for memory_id in self._some(1):
            text = self._text()
            with importing.write(self.database):
                memory.update(self.database, MemoryUpdate(id=memory_id, content=text), REQUEST)
            self.stored[memory_id] = text

    def trash(self) -> None:
        for memory_id in self._some(1):
            with importing.write(self.database):
                memory.delete(self.database, MemoryDelete(id=memory_id), REQUEST)
            self.trashed[memory_id] = self.stored.pop(memory_id)

    def restore(self) -> None:
        for memory_id in list(self.trashed)[:1]:
            with importing.write(self.database):
                history.restore(self.database, MemoryRestore(id=memory_id), REQUEST)
            self.stored[memory_id] = self.trashed.pop(memory_id)

    def purge(self) -> None:
        """Only texts of ours are looked for afterwards: their first word is in no other."""
        ours = [memory_id for memory_id in self._some(3) if self.stored[memory_id].startswith("w")]
        with importing.write(self.database):
            batch.batch(self.database, MemoryBatch(delete=ours, purge=True), REQUEST)
        self.purged |= {self.stored.pop(memory_id).split()[0] for memory_id in ours}

    def import_a_piece(self) -> None:
        """Begin an import, bring some of it, or show it: a step at a time, with other work between."""
        if self.staged is None:
            self.staged = importing.begin(self.database)
            self._coming: dict[int, str] = {}
        elif len(self._coming) < 40:
            first, file_id = len(self._coming), 10**9 + 1000 * self.chance.randrange(10**9)
            entries = {file_id + number: self._text() for number in range(20)}
            importing.stage(self.database, self.staged, *map(importing.entry, entries, entries.values()), first=first)
            self._coming |= entries
        else:
            importing.commit(self.database, self.staged)
            self.stored |= self._coming
            self.staged = None

    def give_up_an_import(self) -> None:
        if self.staged is not None:
            with importing.write(self.database):
                import_steps.end(self.database, importing.ImportNamed(import_id=self.staged), REQUEST)
            self.staged = None

    def read(self) -> None:
        """Counted in memory, and written with the next group."""
        for memory_id in self._some(3):
            memory.get(self.database, MemoryGet(id=memory_id), REQUEST)

    def tend(self) -> None:
        with self.database.write_group():
            self.database.housekeep()

    def empty_the_log(self) -> None:
        self.database.checkpoints.run()

    def capture(self) -> None:
        self.database.flush()

    def ship(self) -> None:
        """As the replicator does: what is in the object store is taken away."""
        for path in outbox(self.folder):
            self.shipped.append(Shipped(self.length(), path.name, path.read_bytes()))
            path.unlink()

    def end_and_come_back(self) -> None:
        self.database.close()
        self.database = self._open()

    def die_and_come_back(self) -> None:
        """As after ``kill -9``: the log stays behind, what was only in memory is forgotten."""
        self.database.abandon()
        self.database = self._open()

    def _open(self) -> Database:
        capture = Capture(self.folder, clock=lambda: self.now)
        database = Database(self.folder / "memory.db", clock=lambda: self.now, capture=capture)
        self.prepare(database)
        return database

    def _promise(self) -> None:
        self.promises.append(
            Promise(
                after=self.length(),
                now=self.now,
                rows=sum_of_rows(self.database),
                stored=dict(self.stored),
                trashed=dict(self.trashed),
                purged=frozenset(self.purged),
            )
        )

    def _create(self, text: str) -> int:
        passage = Passage(0, len(text), vector(self.chance.randrange(DIMENSIONS)))
        embeddings = [Embedding(MODEL, [passage])] if self.chance.random() < 0.3 else []
        return memory.create(self.database, MemoryCreate(content=text), Request(id=1, method="", embeddings=embeddings)).id

    def _refused(self, arguments: MemoryCreate) -> None:
        try:
            with self.database.savepoint():
                memory.create(self.database, arguments, REQUEST)
        except RemoteError:
            return
        raise AssertionError("it was accepted")

    def _text(self) -> str:
        self._texts += 1
        return f"w{self.chance.getrandbits(64):016x} number {self._texts} " + "about the harbour " * self.chance.randint(1, 40)

    def _some(self, count: int) -> list[int]:
        return self.chance.sample(sorted(self.stored), min(count, len(self.stored)))


_STEPS: tuple[Callable[[Customer], None], ...] = (
    *[Customer.create] * 4,
    Customer.create_many,
    Customer.create_for_a_while,
    *[Customer.change] * 2,
    Customer.trash,
    Customer.restore,
    *[Customer.purge] * 2,
    *[Customer.import_a_piece] * 3,
    Customer.give_up_an_import,
    Customer.read,
    Customer.tend,
    *[Customer.empty_the_log] * 2,
    *[Customer.capture] * 4,
    *[Customer.ship] * 2,
    Customer.end_and_come_back,
    Customer.die_and_come_back,
)


def sum_of_rows(database: Database) -> str:
    """Return a sum over every row of every table, the word index apart: ``integrity.check`` compares that with the texts."""
    total = hashlib.sha256()
    for (table,) in database.connection.execute(_TABLES).fetchall():
        total.update(str(table).encode())
        for row in sorted(map(repr, database.connection.execute(f'SELECT * FROM "{table}"'))):
            total.update(row.encode())
    return total.hexdigest()


def seen(database: Database, *, in_trash: bool = False) -> dict[int, str]:
    """Return what a customer's list shows of what does not expire."""
    return {one.id: one.content for one in _listed(database, in_trash) if one.tier == "permanent"}


def _listed(database: Database, in_trash: bool) -> Iterator[Any]:
    cursor = None
    while True:
        page = memory.list_page(database, MemoryList(limit=500, in_trash=in_trash, cursor=cursor), REQUEST)
        yield from page.memories
        cursor = page.next_cursor
        if cursor is None:
            return
