"""What reads one moment for a long time does not keep the log growing for ever, nor take the disk for itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.capture.live_files import log_path
from engine.catalogue.memory import MemoryCreate, MemoryUpdate
from engine.catalogue.transfer import ExportFile
from engine.protocol import ErrorCode, RemoteError, Request
from engine.store.checkpoint import HELD_FRAMES_MIN, SNAPSHOTS_MAX
from engine.store.database import Database
from engine.tools import export, memory

REQUEST = Request(id=1, method="")
FRAME_BYTES = 4096 + 24


def grow_log(database: Database, *, frames: int) -> None:
    """Write versions of one memory until the log is so long, or is emptied."""
    with database.write_group():
        memory_id = memory.create(database, MemoryCreate(content="x" * 60_000), REQUEST).id
    length = 0
    number = 0
    while length <= (now := log_path(database.path).stat().st_size) < frames * FRAME_BYTES:
        length = now
        with database.write_group():
            for _ in range(20):
                number += 1
                memory.update(database, MemoryUpdate(id=memory_id, content=f"{number} " + "x" * 60_000), REQUEST)
        database.checkpoint_if_due()


@pytest.mark.parametrize("form", ["json", "sqlite"])
def test_an_export_that_nobody_reads_is_given_up_before_the_log_is_endless(database: Database, form: str) -> None:
    with database.write_group():
        for number in range(300):
            memory.create(database, MemoryCreate(content=f"{number} " + "lighthouse " * 100), REQUEST)
    pieces = export.stream_file(database, ExportFile(format=form), REQUEST)  # type: ignore[arg-type]
    next(pieces)

    grow_log(database, frames=2 * HELD_FRAMES_MIN + database.connection.pragma("page_count"))

    assert log_path(database.path).stat().st_size < HELD_FRAMES_MIN * FRAME_BYTES
    with pytest.raises(RemoteError) as error:
        for _ in pieces:
            pass
    assert error.value.code == ErrorCode.UNAVAILABLE
    assert len(b"".join(export.stream_file(database, ExportFile(format="jsonl"), REQUEST))) > 300_000


def test_a_snapshot_outlives_an_ordinary_amount_of_writing(database: Database) -> None:
    with database.snapshot() as reader:
        grow_log(database, frames=HELD_FRAMES_MIN // 4)

        assert reader.execute("SELECT count(*) FROM memories").get == 0


def test_only_so_many_snapshots_are_open_at_once(database: Database) -> None:
    streams = [export.stream_file(database, ExportFile(), REQUEST) for _ in range(SNAPSHOTS_MAX + 1)]
    for stream in streams[:-1]:
        next(stream)
    with pytest.raises(RemoteError) as refused:
        next(streams[-1])
    for stream in streams[:-1]:
        stream.close()

    assert refused.value.code == ErrorCode.OVERLOADED
    assert next(export.stream_file(database, ExportFile(), REQUEST))


def test_a_sqlite_file_is_not_built_on_a_disk_that_is_nearly_full(tmp_path: Path) -> None:
    with Database(tmp_path / "memory.db") as database, database.write_group():
        memory.create(database, MemoryCreate(content="there"), REQUEST)
    with Database(tmp_path / "memory.db", disk_reserve_bytes=2**60) as database:
        with pytest.raises(RemoteError) as refused:
            list(export.stream_file(database, ExportFile(format="sqlite"), REQUEST))

        assert refused.value.code == ErrorCode.DISK_FULL
        assert b"there" in b"".join(export.stream_file(database, ExportFile(), REQUEST))
