"""A restore that has to wait for the store says so after a while, and leaves the database free for the next one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from engine.protocol import ErrorCode, RemoteError
from tenants.messages.replica import Restore
from tenants.replica.recovery import recovery
from tests.tenants.conftest import TENANT
from tests.tenants.replica.outboxes import Writer
from tests.tenants.replica.replicating import replicating


async def test_what_does_not_reach_the_store_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "_SHIPPED_WAIT_S", 0.01)
    writer = Writer(tmp_path, TENANT)
    writer.write()
    async with replicating(tmp_path, (tmp_path / "objects").as_uri()) as replication:
        await replication.shipping.wait(TENANT, 1)
        asked = Restore(tenant=TENANT, at_ms=int(time.time() * 1000), mode="preview", after_txid=2)
        for _ in range(2):
            with pytest.raises(RemoteError) as error:
                await replication.recovery.restore(asked)

            assert error.value.code == ErrorCode.UNAVAILABLE
            assert error.value.details["retry_after"] >= 1
