"""What the replicator is told, and the name that its node goes by."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tenants.replica.settings import ReplicatorSettings, SettingsFault, node_id
from tenants.replica.stores.address import Directory, parse


def test_without_a_word_backups_lie_beside_the_data_whatever_its_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "a folder #1 100%"
    settings = ReplicatorSettings.from_environment({"ENGRAM_DATA_DIR": str(folder)})

    assert settings.replicates
    assert parse(settings.url, {}) == Directory(root=folder / "replica")


def test_all_that_is_given_is_read_and_nothing_else_passed_on() -> None:
    key = bytes(range(32))
    settings = ReplicatorSettings.from_environment(
        {
            "ENGRAM_DATA_DIR": "/data",
            "ENGRAM_REPLICA_URL": "s3://bucket/prefix",
            "ENGRAM_MASTER_KEY": base64.b64encode(key).decode(),
            "AWS_ACCESS_KEY_ID": "id",
            "ENGRAM_STRIPE_API_KEY": "secret",
        }
    )

    assert (settings.url, settings.master_key) == ("s3://bucket/prefix", key)
    assert settings.environment == {"AWS_ACCESS_KEY_ID": "id"}
    assert base64.b64encode(key).decode() not in repr(settings)
    assert str(key) not in repr(settings)


def test_off_is_off() -> None:
    assert not ReplicatorSettings.from_environment({"ENGRAM_REPLICA_URL": "off"}).replicates


@pytest.mark.parametrize("key", ["x", "AAAA", "=" * 44, base64.b64encode(bytes(31)).decode()])
def test_a_master_key_that_is_none_is_said(key: str) -> None:
    with pytest.raises(SettingsFault, match="ENGRAM_MASTER_KEY"):
        ReplicatorSettings.from_environment({"ENGRAM_MASTER_KEY": key})


def test_a_name_that_was_written_down_is_kept(tmp_path: Path) -> None:
    (tmp_path / "node").write_text("0123456789abcdef\n")

    assert node_id(tmp_path) == node_id(tmp_path) == "0123456789abcdef"


@pytest.mark.parametrize("left", [None, ""])
def test_a_name_is_made_where_there_is_none_and_is_one_for_all(tmp_path: Path, left: str | None) -> None:
    if left is not None:
        (tmp_path / "node").write_text(left)
    names: list[str] = []
    threads = [threading.Thread(target=lambda: names.append(node_id(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(names) == 8
    if left is None:
        assert len(set(names)) == 1
    assert node_id(tmp_path) in names
    assert [path.name for path in tmp_path.iterdir()] == ["node"]


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "UPPER", "-x", "x" * 65, "a b"])
def test_a_name_that_is_no_part_of_a_key_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "node").write_text(name)

    with pytest.raises(SettingsFault, match="node"):
        node_id(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [{"ENGRAM_MASTER_KEY": "short"}, {"ENGRAM_REPLICA_URL": "ftp://somewhere"}, {"ENGRAM_REPLICA_URL": "s3://x"}],
    ids=["key", "scheme", "bucket"],
)
def test_a_replicator_that_can_not_run_says_why_in_one_line(tmp_path: Path, wrong: dict[str, str]) -> None:
    (tmp_path / "run").mkdir()
    environment = {"PATH": os.environ["PATH"], "ENGRAM_DATA_DIR": str(tmp_path), **wrong}
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "tenants.replica.main"], env=environment, capture_output=True, text=True, timeout=100
    )

    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr + ended.stdout
    assert len((ended.stderr + ended.stdout).splitlines()) == 1
