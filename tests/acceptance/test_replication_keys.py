"""``engram admin rotate-keys`` and ``rewrap``, on a store with sealed files of some databases."""

from __future__ import annotations

import base64
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from tenants.replica import layout
from tenants.replica.sealing import KeyUnavailable
from tenants.replica.stores import open_store
from tenants.replica.tree import FileInfo, digest_of
from tenants.replica.trees import Trees

MASTER, NEW_MASTER = bytes([1]) * 32, bytes([2]) * 32
TENANTS = ["db_" + letter * 20 for letter in "abc"]
BODY = b"what somebody stored"


class Objects:
    """A store, as the replicator writes to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = (folder / "objects").as_uri()
        for tenant in TENANTS:
            self.put(tenant, 1)

    def put(self, tenant: str, txid: int) -> None:
        info = FileInfo(timestamp_ms=1, batch=digest_of([BODY]), previous="", epoch=1, checksum=1, pages=1, whole=True)
        with closing(open_store(self.url, {})) as store:
            Trees(store, MASTER, self.folder).of(tenant).put(0, txid, txid, BODY, info)

    def read(self, tenant: str, txid: int, master_key: bytes = MASTER) -> bytes:
        with closing(open_store(self.url, {})) as store:
            tree = Trees(store, master_key, self.folder).of(tenant)
            with tree.open(0, txid, txid) as (_, pieces):
                return b"".join(pieces)

    def key_id(self, tenant: str, txid: int) -> str:
        with closing(open_store(self.url, {})) as store:
            stored = store.head(layout.ltx_key(tenant, 0, txid, txid))
        assert stored is not None
        return stored.metadata["engram-key"]

    def engram(self, *arguments: str, **environment: str) -> Result:
        own = {"ENGRAM_REPLICA_URL": self.url, "ENGRAM_MASTER_KEY": base64.b64encode(MASTER).decode()}
        return CliRunner(env=own | environment).invoke(main, ["admin", *arguments])


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path)


def test_with_a_new_key_the_old_files_stay_readable(objects: Objects) -> None:
    answer = objects.engram("rotate-keys")
    assert answer.exit_code == 0, answer.output
    assert [line.split(":")[0] for line in answer.output.splitlines()] == TENANTS

    for tenant in TENANTS:
        objects.put(tenant, 2)
        assert objects.key_id(tenant, 1) != objects.key_id(tenant, 2)
        assert objects.read(tenant, 1) == objects.read(tenant, 2) == BODY


def test_only_those_that_are_named_get_one(objects: Objects) -> None:
    assert objects.engram("rotate-keys", TENANTS[1]).exit_code == 0
    for tenant in TENANTS:
        objects.put(tenant, 2)

    assert [objects.key_id(tenant, 1) != objects.key_id(tenant, 2) for tenant in TENANTS] == [False, True, False]


def test_wrapped_anew_they_are_read_with_the_new_master_key_alone(objects: Objects) -> None:
    new = base64.b64encode(NEW_MASTER).decode()
    assert objects.engram("rewrap", ENGRAM_NEW_MASTER_KEY=new).exit_code == 0
    assert objects.engram("rewrap", ENGRAM_NEW_MASTER_KEY=new).exit_code == 0  # it is safe to repeat

    for tenant in TENANTS:
        assert objects.read(tenant, 1, NEW_MASTER) == BODY
        with pytest.raises(KeyUnavailable):
            objects.read(tenant, 1)


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["rotate-keys", "../x"], {}, "not a database's name"),
        (["rotate-keys"], {"ENGRAM_MASTER_KEY": ""}, "ENGRAM_MASTER_KEY"),
        (["rotate-keys"], {"ENGRAM_MASTER_KEY": "short"}, "32 random bytes"),
        (["rotate-keys"], {"ENGRAM_REPLICA_URL": "off"}, "ENGRAM_REPLICA_URL"),
        (["rotate-keys"], {"ENGRAM_REPLICA_URL": "ftp://somewhere"}, "object store"),
        (["rotate-keys"], {"ENGRAM_MASTER_KEY": base64.b64encode(NEW_MASTER).decode()}, "master key"),
        (["rewrap"], {}, "ENGRAM_NEW_MASTER_KEY"),
        (["rewrap"], {"ENGRAM_NEW_MASTER_KEY": "short"}, "32 random bytes"),
    ],
)
def test_what_is_wrong_is_one_line(objects: Objects, arguments: list[str], environment: dict[str, str], words: str) -> None:
    answer = objects.engram(*arguments, **environment)

    assert answer.exit_code == 1
    assert words in answer.output
    assert answer.output.count("\n") == 1
    assert all(objects.read(tenant, 1) == BODY for tenant in TENANTS)


def test_what_is_not_there_is_given_no_keys(objects: Objects) -> None:
    stranger = "db_" + "z" * 20
    refused = objects.engram("rotate-keys", stranger)

    assert refused.exit_code == 1
    assert f"the store has nothing of {stranger}" in refused.output
    assert stranger not in objects.engram("rotate-keys").output


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"ENGRAM_MASTER_KEY": base64.b64encode(NEW_MASTER).decode()}, "Error: the keys of "),
        (
            {
                "ENGRAM_REPLICA_URL": "s3://engram-tests/none?endpoint=http://127.0.0.1:1&region=us-east-1",
                "AWS_ACCESS_KEY_ID": "tests",
                "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            },
            "Error: the object store can't be reached",
        ),
    ],
)
def test_what_is_in_the_way_is_said_in_one_line(
    objects: Objects, tmp_path: Path, environment: dict[str, str], words: str
) -> None:
    refused = objects.engram("restore", TENANTS[0], "--to", str(tmp_path / "memory.db"), **environment)

    assert refused.exit_code == 1
    assert refused.output.startswith(words)
    assert refused.output.count("\n") == 1
    assert not (tmp_path / "memory.db").exists()
