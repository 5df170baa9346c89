"""What has expired is erased from databases that nobody uses, awake or asleep, and an engine can't make itself a nuisance."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.catalogue.lifecycle import DUE_BYTES_MAX, DUE_FILE, HOUSEKEEP, QUARANTINE_FILE, Due, Housekeep
from engine.catalogue.memory import CREATE, MemoryCreate
from engine.catalogue.statistics import STATS, MemoryStats
from engine.layout import tenant_folder
from engine.protocol import ErrorCode, RemoteError
from engine.store.connection import open_reader, preload
from tenants.host import last_words
from tenants.host.caretaker import Caretaker
from tests.service import wait_until
from tests.tenants.conftest import OTHER, TENANT, Node


def made_folder(data_folder: Path, tenant: str) -> Path:
    folder = tenant_folder(data_folder, tenant)
    folder.mkdir(parents=True)
    return folder


def rows(node: Node, tenant: str) -> int:
    """Count what is really in the file, expired or not."""
    connection = open_reader(tenant_folder(node.folder, tenant) / "memory.db")
    try:
        return int(connection.execute("SELECT count(*) FROM memories").get)
    finally:
        connection.close()


def said(node: Node, tenant: str) -> Due | None:
    return last_words.due(tenant_folder(node.folder, tenant))


@pytest.fixture(autouse=True, scope="module")
def _extensions() -> None:
    preload()


async def until(condition: object) -> None:
    # On a crowded machine an engine may fall asleep between two pieces: the next waking is a minute later.
    await asyncio.to_thread(wait_until, condition, 150)


async def test_a_sleeping_database_is_woken_when_something_expires(sleepy_node: Node) -> None:
    node = sleepy_node
    async with node.router() as router:
        await router.call(TENANT, CREATE, MemoryCreate(content="stays"))
        short_lived = MemoryCreate(content="goes soon", tier="daily", ttl_seconds=3)
        await asyncio.gather(*(router.call(TENANT, CREATE, short_lived) for _ in range(100)))  # pieces of it
        await router.call(OTHER, CREATE, MemoryCreate(content="nothing is ever due"))
        await until(lambda: not node.engines())
        due = said(node, TENANT)
        assert due is not None
        assert due.at is not None
        assert said(node, OTHER) == Due(None)

    await until(lambda: said(node, TENANT) == Due(None))
    await until(lambda: not node.engines())
    assert rows(node, TENANT) == 1
    assert b"goes soon" not in (tenant_folder(node.folder, TENANT) / "memory.db").read_bytes()
    status = await node.status()
    assert status.wakings_total >= 1
    assert status.crashes_total == 0


async def test_what_expires_in_an_idle_engine_is_erased(node: Node) -> None:
    async with node.router() as router:
        await router.call(TENANT, CREATE, MemoryCreate(content="stays"))
        await router.call(TENANT, CREATE, MemoryCreate(content="goes", tier="daily", ttl_seconds=1))

    await until(lambda: rows(node, TENANT) == 1)
    assert node.engines()
    assert (await node.status()).wakings_total == 0


async def test_databases_whose_engines_left_no_word_are_asked_when_the_host_starts(sleepy_node: Node) -> None:
    """As after a power cut: the rows are there, and nobody knows of them."""
    node = sleepy_node
    async with node.router() as router:
        await router.call(TENANT, CREATE, MemoryCreate(content="goes", tier="daily", ttl_seconds=1))
        await until(lambda: not node.engines())
    node.stop("tenants.host.main")
    (tenant_folder(node.folder, TENANT) / DUE_FILE).unlink()
    node.start("tenants.host.main")

    await until(lambda: said(node, TENANT) == Due(None))
    assert rows(node, TENANT) == 0


async def test_word_is_left_only_at_a_clean_end(node: Node) -> None:
    async with node.router() as router:
        await router.call(TENANT, STATS, MemoryStats())
        assert said(node, TENANT) is None
        node.stop("tenants.host.main", signal.SIGKILL)  # it would wake the database at once
        os.kill(node.engines()[TENANT], signal.SIGKILL)
        await until(lambda: not node.engines())
        assert said(node, TENANT) is None
        node.start("tenants.host.main")
        await router.call(TENANT, STATS, MemoryStats())
    await asyncio.to_thread(node.stop, "engine.fork_server")

    assert said(node, TENANT) == Due(None)


async def test_a_piece_is_bounded_and_says_what_is_left(node: Node) -> None:
    async with node.router() as router:
        later = await router.call(TENANT, CREATE, MemoryCreate(content="later", tier="daily", ttl_seconds=1000))
        housekept = await router.call(TENANT, HOUSEKEEP, Housekeep())

    assert housekept.next_due is not None
    assert abs(housekept.next_due / 1_000_000 - time.time() - 1000) < 100
    assert later.expires_at is not None


# What a hostile engine may leave


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _link(path: Path) -> None:
    (path.parent / "target").write_bytes(b'{"at":1}')
    path.symlink_to("target")


HOSTILE = {
    "a pipe": _fifo,
    "a link": _link,
    "a folder": Path.mkdir,
    "gigabytes": lambda path: (path.touch(), os.truncate(path, 2**33)),
    "too long": lambda path: path.write_bytes(b'{"at":1' + b" " * DUE_BYTES_MAX + b"}"),
    "nothing": Path.touch,
    "no number": lambda path: path.write_bytes(b'{"at":"soon"}'),
    "too large": lambda path: path.write_bytes(b'{"at":1e999}'),
    "a list": lambda path: path.write_bytes(b"[1]"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_strange_last_words_count_as_none(tmp_path: Path, what: str) -> None:
    HOSTILE[what](tmp_path / DUE_FILE)

    assert last_words.due(tmp_path) is None


def test_a_folder_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / DUE_FILE).write_bytes(b'{"at":1}')
    (tmp_path / "link").symlink_to("real")

    assert last_words.due(tmp_path / "real") == Due(1)
    assert last_words.due(tmp_path / "link") is None


@given(st.binary(max_size=100))
def test_no_bytes_make_reading_them_fail(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("words")
    (folder / DUE_FILE).write_bytes(data)

    due = last_words.due(folder)
    assert due is None or due.at is None or isinstance(due.at, int)


@pytest.mark.parametrize("words", [b'{"at":0}', b'{"at":-9223372036854775808}', b"nonsense", b'{"at":18446744073709551615}'])
async def test_an_engine_that_asks_to_be_woken_for_ever_is_woken_once_a_minute(tmp_path: Path, words: bytes) -> None:
    folder = made_folder(tmp_path, TENANT)
    (folder / DUE_FILE).write_bytes(words)
    woken = []

    async def wake(tenant: str) -> Path:
        woken.append(tenant)
        caretaker.ended(tenant, folder)
        return tmp_path / "nobody listens here"

    caretaker = Caretaker(tmp_path, wake=wake, is_awake=lambda _: False)
    running = asyncio.ensure_future(caretaker.run())
    await asyncio.sleep(0.5)
    running.cancel()

    assert len(woken) <= 1


async def test_an_erased_database_is_not_made_anew(tmp_path: Path) -> None:
    folder = made_folder(tmp_path, TENANT)
    woken = []

    async def wake(tenant: str) -> Path:
        woken.append(tenant)
        return made_folder(tmp_path, tenant)

    caretaker = Caretaker(tmp_path, wake=wake, is_awake=lambda _: False)
    caretaker.ended(TENANT, folder)
    shutil.rmtree(folder)
    running = asyncio.ensure_future(caretaker.run())
    await asyncio.sleep(1.0)
    running.cancel()

    assert woken == []


async def test_nobody_in_quarantine_is_woken(tmp_path: Path) -> None:
    for tenant in (TENANT, OTHER):
        made_folder(tmp_path, tenant)
    (tenant_folder(tmp_path, TENANT) / QUARANTINE_FILE).touch()
    woken = asyncio.Queue[str]()

    async def wake(tenant: str) -> Path:
        woken.put_nowait(tenant)
        raise RemoteError(ErrorCode.UNAVAILABLE, "not now")

    caretaker = Caretaker(tmp_path, wake=wake, is_awake=lambda _: False)
    running = asyncio.ensure_future(caretaker.run())
    assert await woken.get() == OTHER
    await asyncio.sleep(0.2)
    running.cancel()

    assert woken.empty()
    assert caretaker.set_aside == 1
