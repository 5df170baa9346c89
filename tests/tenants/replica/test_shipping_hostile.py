"""An engine that was taken over puts into its outbox what it likes. It stays there, or hurts its own history alone."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from pathlib import Path

import pytest

from engine.ltx import Decoder, Encoder, Header, file_name
from tenants.replica.layout import INCREMENTS
from tests.isolation.outbox_attacks import ATTACKS, NEEDS_ROOT
from tests.tenants.conftest import OTHER, TENANT
from tests.tenants.replica.outboxes import Writer
from tests.tenants.replica.replicating import replicating, status_of, tree_at, until

SECRET = b"another tenant's memory"


def url_of(data: Path) -> str:
    return (data / "objects").as_uri()


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_is_shipped_nowhere_and_holds_up_nobody(tmp_path: Path, name: str) -> None:
    if name in NEEDS_ROOT and os.geteuid() != 0:
        pytest.skip("only root can do this")
    hostile, honest = Writer(tmp_path, TENANT), Writer(tmp_path, OTHER)
    prey = honest.outbox / "prey"
    prey.write_bytes(SECRET)
    try:
        ATTACKS[name](hostile.outbox, prey)
    except PermissionError:
        pytest.skip("the kernel does not let us attack like this")
    async with replicating(tmp_path, url_of(tmp_path)) as replication:
        hostile.live()
        honest.live()
        for _ in range(5):
            honest.write()
            async with asyncio.timeout(60):
                await replication.shipping.wait(OTHER, honest.txid)
        status = status_of(replication)

    assert prey.read_bytes() == SECRET
    assert len(list(hostile.outbox.iterdir())) == 1
    with tree_at(tmp_path, url_of(tmp_path), TENANT) as tree:
        assert list(tree.entries(INCREMENTS)) == []
    stored = [path.read_bytes() for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    assert not any(SECRET in content for content in stored)
    assert status.shipped_total == 5


async def test_an_outbox_that_leads_to_anothers_ships_and_removes_nothing_of_it(tmp_path: Path) -> None:
    hostile, honest = Writer(tmp_path, TENANT), Writer(tmp_path, OTHER)
    hostile.outbox.rmdir()
    hostile.outbox.symlink_to(honest.outbox)
    honest.write()
    async with replicating(tmp_path, url_of(tmp_path)) as replication:
        hostile.live()
        third = Writer(tmp_path, "db_" + "c" * 20)
        for _ in range(3):
            replication.shipping.look(TENANT)
            third.write()
            replication.shipping.look(third.tenant)
            async with asyncio.timeout(60):
                await replication.shipping.wait(third.tenant, third.txid)
        await until(lambda: not list(honest.outbox.iterdir()))  # its owner's it is, and shipped as that

    with tree_at(tmp_path, url_of(tmp_path), TENANT) as tree:
        assert list(tree.entries(INCREMENTS)) == []
    with tree_at(tmp_path, url_of(tmp_path), OTHER) as tree:
        assert len(list(tree.entries(INCREMENTS))) == 1


async def test_an_outbox_that_is_touched_without_pause_holds_up_nobody(tmp_path: Path) -> None:
    hostile, honest = Writer(tmp_path, TENANT), Writer(tmp_path, OTHER)
    stop = threading.Event()

    def touch() -> None:
        draft, name = hostile.outbox / "draft", hostile.outbox / "nothing.ltx"
        while not stop.is_set():
            draft.touch()
            draft.replace(name)

    thread = threading.Thread(target=touch)
    thread.start()
    try:
        async with replicating(tmp_path, url_of(tmp_path)) as replication:
            hostile.live()
            honest.live()
            for _ in range(20):
                honest.write()
                async with asyncio.timeout(60):
                    await replication.shipping.wait(OTHER, honest.txid)
    finally:
        stop.set()
        thread.join()


async def test_what_is_shipped_is_what_was_verified_whatever_lies_there_a_moment_later(tmp_path: Path) -> None:
    """A sound file and nonsense are exchanged under each name, as fast as that goes, while they are read."""
    hostile = Writer(tmp_path, TENANT)
    stop = threading.Event()
    numbers = range(1, 41)

    def exchange() -> None:
        contents = {number: (_large(number), os.urandom(3_000)) for number in numbers}
        while not stop.is_set():
            for number in numbers:
                for content in contents[number]:
                    draft = hostile.outbox / "draft"
                    draft.write_bytes(content)
                    draft.replace(hostile.outbox / file_name(number, number))

    thread = threading.Thread(target=exchange)
    async with replicating(tmp_path, url_of(tmp_path)) as replication:
        hostile.live()
        thread.start()
        try:
            for _ in range(40):
                replication.shipping.look(TENANT)
                await asyncio.sleep(0.03)
        finally:
            stop.set()
            thread.join()
    with tree_at(tmp_path, url_of(tmp_path), TENANT) as tree:
        entries = list(tree.entries(INCREMENTS))
        for entry in entries:
            with tree.open(INCREMENTS, entry.min_txid, entry.max_txid) as (info, pieces):
                content = b"".join(pieces)

            assert hashlib.sha256(content).hexdigest() == info.batch
            decoder = Decoder()
            decoder.put(content)
            while decoder.take() is not None:
                pass
            decoder.close()


def _large(number: int) -> bytes:
    encoder = Encoder(Header(page_size=4096, commit=200, min_txid=number, max_txid=number, timestamp_ms=number))
    pieces = [encoder.begin()]
    pieces += [encoder.page(page, os.urandom(4096)) for page in range(1, 201)]
    return b"".join([*pieces, encoder.end()])
