"""When an engine captures, and that a large database is captured whole while it is written to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.capture import Capture
from engine.capture import capture as captures
from engine.catalogue.memory import MemoryCreate
from engine.flusher import Flusher, interval_s
from engine.protocol import ErrorCode, RemoteError, Request
from engine.store.database import Database
from engine.store.quarantine import is_damage
from engine.tools import memory
from tests.engine.history import new_folder, outbox, rebuilt

REQUEST = Request(id=1, method="")
PAGE_BYTES = 4096


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return new_folder(tmp_path / "tenant")


@contextmanager
def large(folder: Path) -> Iterator[Database]:
    """A database that was not captured yet, and takes a thread."""
    chance = random.Random(0)
    with Database(folder / "memory.db") as database, database.write_group():
        while database.connection.pragma("page_count") * PAGE_BYTES < 1.5 * captures.WHOLE_INLINE_BYTES_MAX:
            memory.create(database, MemoryCreate(content=chance.randbytes(30_000).hex()), REQUEST)
    with Database(folder / "memory.db", capture=Capture(folder)) as database:
        yield database


def store(database: Database, text: str) -> None:
    with database.write_group():
        memory.create(database, MemoryCreate(content=text), REQUEST)
    database.checkpoint_if_due()


def unexpected(error: Exception) -> None:
    raise AssertionError from error


@pytest.mark.parametrize(("waiting", "seconds"), [(0, 0.25), (200, 0.25), (201, 1), (400, 1), (401, 5), (100_000, 5)])
def test_a_backlog_makes_files_fewer(waiting: int, seconds: float) -> None:
    assert interval_s(waiting) == seconds


async def test_what_is_committed_is_captured_without_being_asked(folder: Path) -> None:
    with Database(folder / "memory.db", capture=Capture(folder)) as database:
        async with Flusher(database, failed=unexpected):
            store(database, "there")
            async with asyncio.timeout(30):
                while database.capture is not None and database.capture.is_behind:
                    await asyncio.sleep(0.01)

            assert rebuilt(outbox(folder)).txid == 1


async def test_a_large_database_is_captured_while_it_is_written_to(folder: Path) -> None:
    with large(folder) as database:
        async with Flusher(database, failed=unexpected) as flusher:
            flushed = asyncio.create_task(flusher.flush())
            await asyncio.sleep(0)
            assert flusher.is_busy
            await asyncio.sleep(0)
            number = 0
            while not flushed.done():
                store(database, f"meanwhile {number} " + "harbour " * 500)
                number += 1
                assert not flusher.is_busy or not database.checkpoints.run()  # the file stays as it is read
                await asyncio.sleep(0)
            assert (await flushed).txid in (1, 2)
            await flusher.flush()
            replica = rebuilt(outbox(folder))
            assert replica.txid == 2
            assert database.checkpoints.run()

            assert replica.file() == database.path.read_bytes()


async def test_an_engine_that_ends_gives_a_whole_up_or_waits_for_it(folder: Path) -> None:
    with large(folder) as database:
        async with Flusher(database, failed=unexpected) as flusher:
            flushed = asyncio.create_task(flusher.flush())
            await asyncio.sleep(0)
            assert database.capture is not None
            database.capture.give_up()
        with pytest.raises(RemoteError) as error:
            await flushed

        assert error.value.code == ErrorCode.UNAVAILABLE
        assert database.capture.is_behind
    assert [path.name for path in (folder / "outbox").iterdir()] == []
    assert rebuilt([]).file() == b""


async def test_damage_that_is_found_on_the_way_is_told(folder: Path) -> None:
    told: list[Exception] = []
    with large(folder) as database:
        with database.path.open("r+b", buffering=0) as file:
            file.seek(1000 * PAGE_BYTES + 17)
            file.write(b"damaged")
        async with Flusher(database, failed=told.append) as flusher:
            with pytest.raises(RemoteError):
                await flusher.flush()
        database.abandon()

    assert [is_damage(error) for error in told] == [True]
    assert [path.name for path in (folder / "outbox").iterdir()] == []
