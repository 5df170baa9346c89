"""The copy for export is built beside the database and leaves nothing there, finished or given up."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from engine.catalogue.memory import MemoryCreate, MemoryDelete
from engine.catalogue.transfer import ExportFile
from engine.protocol import Embedding, Passage
from engine.store import passages
from engine.store.database import Database
from engine.tools import export, memory
from tests.engine.importing import REQUEST, begin, entry, stage, write


def furnish(database: Database, memories: int) -> None:
    with write(database):
        for number in range(memories):
            created = memory.create(database, MemoryCreate(content=f"memory {number} of many", tags=["t"]), REQUEST)
            embedding = Embedding("a-model", [Passage(0, 6, bytes(60) + b"\0\0\x80\x3f")])
            passages.replace(database.connection, created.id, embedding)
    with write(database):
        memory.delete(database, MemoryDelete(id=1), REQUEST)
    stage(database, begin(database), entry(999, "staged by an import"))


def test_the_copy_holds_what_reads_can_see(tmp_path: Path) -> None:
    with Database(tmp_path / "memory.db") as database:
        furnish(database, 300)
        before = sorted(path.name for path in tmp_path.iterdir())
        content = b""
        for piece in export.stream_file(database, ExportFile(format="sqlite"), REQUEST):
            content += piece
            assert sorted(path.name for path in tmp_path.iterdir()) == before
    path = tmp_path / "copy.sqlite"
    path.write_bytes(content)
    copy = sqlite3.connect(path)

    assert copy.execute("SELECT count(*), min(id), max(id) FROM memories").fetchone() == (299, 2, 300)
    assert copy.execute("SELECT count(*) FROM passages").fetchone() == (299,)
    assert copy.execute("SELECT name, dimensions FROM embedding_models").fetchall() == [("a-model", 16)]
    assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert content[20] == 0, "no bytes of a page are reserved"
    assert b"staged by an import" not in content
    copy.close()


def test_a_reader_that_leaves_takes_the_copy_with_it(tmp_path: Path) -> None:
    with Database(tmp_path / "memory.db") as database:
        furnish(database, 300)
        before = sorted(path.name for path in tmp_path.iterdir())
        pieces = export.stream_file(database, ExportFile(format="sqlite"), REQUEST)
        next(pieces)
        with write(database):
            memory.create(database, MemoryCreate(content="written while somebody exports"), REQUEST)
        pieces.close()

        assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_copy_is_of_the_moment_when_it_was_asked_for(tmp_path: Path) -> None:
    with Database(tmp_path / "memory.db") as database:
        furnish(database, 300)
        pieces = export.stream_file(database, ExportFile(format="jsonl"), REQUEST)
        copied = export.stream_file(database, ExportFile(format="sqlite"), REQUEST)
        first, second = next(copied), next(pieces)
        with write(database):
            memory.create(database, MemoryCreate(content="too late"), REQUEST)

        assert b"too late" not in first + b"".join(copied)
        assert b"too late" not in second + b"".join(pieces)
