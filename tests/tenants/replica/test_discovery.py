"""Which outboxes have changed: the kernel tells, and where it can't, a look every now and then finds it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.layout import tenant_folder
from tenants.replica.shipping import discovery as module
from tenants.replica.shipping.discovery import Discovery, with_files
from tenants.replica.shipping.inotify import Inotify
from tests.tenants.conftest import OTHER, TENANT
from tests.tenants.replica.outboxes import Writer

WAIT_S = 30.0


class Ear:
    """Hears of changes; looks as the shipping does, arming before."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.discovery: Discovery | None = None
        self._event = asyncio.Event()

    def __call__(self, tenant: str) -> None:
        self.heard.append(tenant)
        self._event.set()

    async def next(self, tenant: str) -> None:
        """Wait until something is heard of this tenant, and forget it; then look."""
        async with asyncio.timeout(WAIT_S):
            while tenant not in self.heard:
                self._event.clear()
                await self._event.wait()
        self.heard = [other for other in self.heard if other != tenant]
        assert self.discovery is not None
        self.discovery.arm(tenant)


@contextlib.asynccontextmanager
async def listening(data: Path) -> AsyncIterator[Ear]:
    (data / "run" / "engines").mkdir(parents=True, exist_ok=True)
    ear = Ear()
    async with Discovery(data, ear) as ear.discovery:
        yield ear


@contextlib.asynccontextmanager
async def polling(ear: Ear) -> AsyncIterator[None]:
    assert ear.discovery is not None
    running = asyncio.create_task(ear.discovery.run())
    yield
    running.cancel()


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path, TENANT)


async def test_an_engine_that_comes_writes_and_goes_is_heard_of_each_time(tmp_path: Path, writer: Writer) -> None:
    async with listening(tmp_path) as ear:
        writer.live()
        await ear.next(TENANT)
        for _ in range(20):
            writer.write()
            await ear.next(TENANT)
        writer.sleep()
        await ear.next(TENANT)

        assert ear.discovery is not None
        assert ear.discovery.live == 0


async def test_engines_that_ran_before_are_found(tmp_path: Path, writer: Writer) -> None:
    writer.live()
    async with listening(tmp_path) as ear:
        await ear.next(TENANT)
        writer.write()
        await ear.next(TENANT)


async def test_an_outbox_that_nobody_looks_into_is_heard_of_once(tmp_path: Path, writer: Writer) -> None:
    """So whoever writes there without end costs one look at a time."""
    other = Writer(tmp_path, OTHER)
    async with listening(tmp_path) as ear:
        writer.live()
        other.live()
        await ear.next(TENANT)
        await ear.next(OTHER)
        writer.write(200)
        other.write()
        async with asyncio.timeout(WAIT_S):
            while OTHER not in ear.heard:
                await asyncio.sleep(0.01)

        assert ear.heard == [TENANT, OTHER]


async def test_drafts_are_no_news(tmp_path: Path, writer: Writer) -> None:
    async with listening(tmp_path) as ear:
        writer.live()
        await ear.next(TENANT)
        (writer.outbox / "0000000000000001-0000000000000001.ltx.new").write_bytes(b"half")
        other = Writer(tmp_path, OTHER)
        other.live()
        await ear.next(OTHER)

        assert TENANT not in ear.heard


async def test_what_is_no_engines_socket_is_nobody(tmp_path: Path) -> None:
    async with listening(tmp_path) as ear:
        for name in ("../../etc.sock", "db_short.sock", f"{TENANT}.sock.new", f".{TENANT}.sock", TENANT):
            (tmp_path / "run" / "engines" / name.replace("/", "_")).touch()
        Writer(tmp_path, OTHER).live()
        await ear.next(OTHER)

        assert ear.discovery is not None
        assert ear.discovery.live == 1


async def test_an_outbox_that_is_a_link_is_not_followed(tmp_path: Path, writer: Writer) -> None:
    prey = Writer(tmp_path, OTHER)
    writer.outbox.rmdir()
    writer.outbox.symlink_to(prey.outbox)
    async with listening(tmp_path) as ear:
        writer.live()
        await ear.next(TENANT)
        prey.write()
        third = Writer(tmp_path, "db_" + "c" * 20)
        third.live()
        await ear.next(third.tenant)

        assert TENANT not in ear.heard


@pytest.mark.parametrize("lack", [errno.ENOSPC, errno.EMFILE])
async def test_without_watches_outboxes_are_looked_after(
    tmp_path: Path, writer: Writer, lack: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has no more watches (ENOSPC), or no more queues (EMFILE)."""

    def refuse(*_: object) -> int:
        raise OSError(lack, os.strerror(lack))

    monkeypatch.setattr(Inotify, "watch" if lack == errno.ENOSPC else "__init__", refuse)
    monkeypatch.setattr(module, "_POLL_S", 0.02)
    async with listening(tmp_path) as ear, polling(ear):
        writer.live()
        await ear.next(TENANT)
        writer.write()
        await ear.next(TENANT)
        writer.sleep()
        await ear.next(TENANT)


async def test_news_that_were_lost_are_made_up_for(tmp_path: Path, writer: Writer) -> None:
    """More events than the kernel's queue holds, while nobody reads them."""
    queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    async with listening(tmp_path) as ear:
        writer.live()
        await ear.next(TENANT)
        for number in range(queue + 100):
            path = tmp_path / "run" / "engines" / f"x{number % 2}"
            path.touch()
            path.unlink()
        other = Writer(tmp_path, OTHER)
        other.live()
        await ear.next(OTHER)


async def test_a_folder_of_sockets_that_is_made_anew_is_watched_again(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_POLL_S", 0.02)
    async with listening(tmp_path) as ear, polling(ear):
        (tmp_path / "run" / "engines").rmdir()
        await asyncio.sleep(0.1)
        (tmp_path / "run" / "engines").mkdir()
        writer.live()
        await ear.next(TENANT)


def test_outboxes_with_files_are_found_running_or_not(tmp_path: Path, writer: Writer) -> None:
    other = Writer(tmp_path, OTHER)
    (tenant_folder(tmp_path, "db_" + "c" * 20)).mkdir(parents=True)
    (tmp_path / "tenants" / "stray").touch()

    assert with_files(tmp_path / "tenants") == []
    other.write(3)
    assert with_files(tmp_path / "tenants") == [OTHER]
    assert with_files(tmp_path / "nowhere") == []
