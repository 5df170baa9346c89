"""What the replicator tells of the node's outboxes is how it is when somebody asks, however long nobody did."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine.layout import tenant_folder
from tenants.replica import census
from tenants.replica.census import Census
from tenants.replica.watcher import Watcher
from tests.tenants.conftest import OTHER, TENANT


async def test_who_asks_after_a_while_is_told_how_it_is_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "_SCAN_KEPT_S", 0.0)
    monkeypatch.setattr(census, "_PATIENCE_S", 60.0)
    tenant_folder(tmp_path, TENANT).mkdir(parents=True)
    counted = Census(Watcher(tmp_path / "tenants"))
    running = asyncio.ensure_future(counted.run())
    before = (await counted.counts()).tenants
    tenant_folder(tmp_path, OTHER).mkdir(parents=True)
    after = (await counted.counts()).tenants
    running.cancel()

    assert (before, after) == (1, 2)


async def test_a_scan_that_takes_long_is_not_waited_for_when_there_was_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "_SCAN_KEPT_S", 0.0)
    monkeypatch.setattr(census, "_PATIENCE_S", 0.01)
    tenant_folder(tmp_path, TENANT).mkdir(parents=True)
    counted = Census(Watcher(tmp_path / "tenants"))
    running = asyncio.ensure_future(counted.run())
    await counted.counts()
    running.cancel()  # and nobody scans any more

    async with asyncio.timeout(60):
        assert (await counted.counts()).tenants == 1
