"""A node that has lost its disk: with the object store alone every account, key and memory is there again."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
from pathlib import Path

import boto3
import httpx
import psutil
import pytest

from tests.api.backups import contents, create
from tests.service import Account, Service, wait_until
from tests.tenants.replica.s3_server import BUCKET, CREDENTIALS, S3Server, store_url

pytestmark = pytest.mark.acceptance

_TAKEN_OVER_S = 120
"""A node that was killed holds its lease for half a minute; then the next may serve what it owned."""

ENVIRONMENTS = {"plain": {}, "encrypted": {"ENGRAM_MASTER_KEY": base64.b64encode(bytes(range(32))).decode()}}


def lose_disk(node: Service) -> None:
    """Take away all that the node has kept, but for what it carried elsewhere."""
    for path in node.folder.iterdir():
        if path.name == "replica":
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def snapshots(node: Service) -> int:
    """Return how many snapshots of the control plane are in the store."""
    folder = node.folder / "replica" / "control"
    return len([path for path in folder.iterdir() if len(path.name) == 16]) if folder.exists() else 0


def is_back(account: Account, expected: list[str]) -> bool:
    try:
        return account.get("/v1/stats").status_code == 200 and contents(account) == expected
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_after_a_stop_everything_is_there_again_with_the_first_request(models: Path, tmp_path: Path, kind: str) -> None:
    node = Service(tmp_path / "data", environment=ENVIRONMENTS[kind])
    with node:
        with node.sign_up() as one, node.sign_up() as two:
            one.create("of the first")
            two.create("of the second")
            two.create("and another")  # nobody waits for it: the stop carries it away
            key = one.post("/v1/keys", json={"name": "second", "scopes": ["read"]}).json()["key"]
        node.stop()
        lose_disk(node)
        node.start()

        with Account(node.url, one.key, one.database) as account:
            assert contents(account) == ["of the first"]
            assert [key["name"] for key in account.get("/v1/keys").json()["keys"]] == ["first key", "second"]
        with Account(node.url, key, one.database) as account:
            assert account.get("/v1/memories").status_code == 200
        with Account(node.url, two.key, two.database) as account:
            assert contents(account) == ["of the second", "and another"]
            assert create(account, "after the loss")["id"] == 3


@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_after_everything_was_killed_what_was_replicated_is_there_again(models: Path, tmp_path: Path, kind: str) -> None:
    node = Service(tmp_path / "data", environment=ENVIRONMENTS[kind])
    with node:
        wait_until(lambda: snapshots(node) >= 1)  # as it was at the start
        before = snapshots(node)
        with node.sign_up() as account:
            for number in range(5):
                create(account, f"memory {number}")
        wait_until(lambda: snapshots(node) > before)

        everything = node.processes()
        for process in everything:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended with its parent
                process.kill()
        psutil.wait_procs(everything, timeout=30)
        node.stop()
        lose_disk(node)
        node.start()

        with Account(node.url, account.key, account.database) as again:
            wait_until(lambda: is_back(again, [f"memory {number}" for number in range(5)]), _TAKEN_OVER_S)


def test_a_bucket_alone_is_enough(models: Path, tmp_path: Path) -> None:
    with S3Server() as server:
        client = boto3.client(
            "s3",
            endpoint_url=server.endpoint,
            region_name="us-east-1",
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket=BUCKET)
        client.close()
        bucket = {"ENGRAM_REPLICA_URL": store_url(server.endpoint, "a-node")} | CREDENTIALS | ENVIRONMENTS["encrypted"]
        with Service(tmp_path / "data", environment=bucket) as node:
            with node.sign_up() as account:
                create(account, "of a machine that is gone")
                state = account.get("/v1/backups").json()
                assert (state["store"], state["encrypted"]) == ("s3", True)
            node.stop()
            lose_disk(node)
            node.start()

            with Account(node.url, account.key, account.database) as again:
                assert contents(again) == ["of a machine that is gone"]


def test_a_node_has_another_name_each_time_it_is_up(models: Path, tmp_path: Path) -> None:
    with Service(tmp_path / "data") as node:
        name = node.folder / "run" / "node"
        first = name.read_text()
        node.program("replica.main").kill()
        wait_until(lambda: httpx.get(f"{node.url}/ready").json()["parts"]["replicator"].get("lease_seconds", 0) > 0)
        assert name.read_text() == first
        node.stop()
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_text("somebody's")
        name.unlink()
        name.symlink_to(elsewhere)
        node.start()

        assert not name.is_symlink()
        assert name.read_text() not in ("", first)
        assert elsewhere.read_text() == "somebody's"


def test_without_the_master_key_nothing_is_made_anew(models: Path, tmp_path: Path) -> None:
    """An empty control plane would refuse every key there is, and its snapshots would come after those of the real one."""
    node = Service(tmp_path / "data", environment=ENVIRONMENTS["encrypted"])
    with node, node.sign_up() as account:
        create(account, "sealed")
    lose_disk(node)
    shipped = snapshots(node)
    other = Service(tmp_path / "data", environment={"ENGRAM_MASTER_KEY": base64.b64encode(os.urandom(32)).decode()})
    with other.starting():
        wait_until(lambda: "another master key" in other.log(), 120)

        assert not (other.folder / "control.db").exists()
        assert snapshots(other) == shipped
