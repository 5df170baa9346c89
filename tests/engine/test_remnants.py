"""What is purged is not in the file either where SQLite has moved it from when it balanced its pages."""

from __future__ import annotations

import random
from pathlib import Path

import apsw

from engine.capture.pages import PageForm
from engine.catalogue.memory import MemoryCreate, MemoryDelete, MemoryUpdate
from engine.protocol import Request
from engine.store.connection import open_writer
from engine.store.database import Database
from engine.tools import memory

REQUEST = Request(id=1, method="")
MEMORIES = 60


def text(number: int, chance: random.Random) -> str:
    return f"zq{number:04} " + "harbour " * chance.randint(2, 110)


def test_a_purge_leaves_nothing_in_the_gaps_of_pages(tmp_path: Path) -> None:
    chance = random.Random(0)
    path = tmp_path / "memory.db"
    with Database(path) as database:
        for number in range(MEMORIES):
            with database.write_group():
                memory.create(database, MemoryCreate(content=text(number, chance)), REQUEST)
        for number in chance.choices(range(MEMORIES), k=60):
            with database.write_group():
                memory.update(database, MemoryUpdate(id=number + 1, content=text(number, chance)), REQUEST)
        for number in range(MEMORIES):
            with database.write_group():
                memory.delete(database, MemoryDelete(id=number + 1, purge=True), REQUEST)

            assert f"zq{number:04}".encode() not in path.read_bytes()


def test_a_page_without_its_remnants_is_the_same_to_sqlite(tmp_path: Path) -> None:
    """Changes past SQLite, to a file that nobody has open: all rows are there, and every checksum is right."""
    path = tmp_path / "memory.db"
    chance = random.Random(1)
    connection = open_writer(path)
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, content)")
    for number in range(200):
        connection.execute("INSERT INTO t VALUES (?, ?)", (number, text(number, chance)))
    for number in chance.choices(range(200), k=200):
        connection.execute("UPDATE t SET content = ? WHERE id = ?", (text(number, chance), number))
    rows = connection.execute("SELECT * FROM t").fetchall()
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    size = connection.pragma("page_size")
    connection.close()

    left = path.read_bytes()
    form = PageForm(size, has_checksums=True)
    pages = len(left) // size
    assert form.are_sound(left).all()
    content = bytearray(left)
    form.finish(content, range(1, pages + 1), database_pages=pages)
    assert content.count(0) > left.count(0)
    assert form.are_sound(content).all()
    again = bytearray(content)
    form.finish(again, range(1, pages + 1), database_pages=pages)
    assert again == content
    path.write_bytes(content)

    connection = open_writer(path)
    assert connection.execute("SELECT * FROM t").fetchall() == rows
    assert connection.execute("PRAGMA integrity_check").get == "ok"
    connection.close()
