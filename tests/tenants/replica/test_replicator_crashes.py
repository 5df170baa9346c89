"""A replicator that is killed at any moment loses nothing, ships nothing twice and leaves the chain whole."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.service import ROOT
from tests.tenants.replica.outboxes import Writer
from tests.tenants.replica.replicating import replicating, tree_at

TENANTS = ["db_" + letter * 20 for letter in "abcd"]
LIVES = {"file": (200, 0.2), "s3": (25, 1.2)}
"""How many, and how many seconds the longest; a client of S3's alone takes a quarter of one to be made."""

WRITE_EVERY_S = 0.02


async def test_killed_again_and_again(tmp_path: Path, store_address: str) -> None:
    writers = [Writer(tmp_path, tenant) for tenant in TENANTS]
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for writer in writers:
                writer.write()
            time.sleep(WRITE_EVERY_S)

    for writer in writers:
        writer.live()
    writing = threading.Thread(target=write)
    writing.start()
    rounds, longest_s = LIVES[store_address.partition(":")[0]]
    command = [
        sys.executable,
        "-m",
        "tests.tenants.replica.crashing",
        str(tmp_path),
        store_address,
        str(rounds),
        str(longest_s),
    ]
    try:
        await asyncio.to_thread(subprocess.run, command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=200)
    finally:
        stop.set()
        writing.join()
    left = sum(len(writer.waiting()) for writer in writers)
    written = sum(writer.txid for writer in writers)
    async with replicating(tmp_path, store_address) as replication:
        async with asyncio.timeout(100):
            for writer in writers:
                await replication.shipping.wait(writer.tenant, writer.txid)
        while any(writer.waiting() for writer in writers):
            await asyncio.sleep(0.01)

    assert left < written  # the killed ones have done something
    for writer in writers:
        with tree_at(tmp_path, store_address, writer.tenant) as tree:
            writer.check(tree, tmp_path / "spool")
