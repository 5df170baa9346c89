"""``ENGRAM_REPLICA_URL`` is looked at before anything is started, and named when it can't be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings import GatewaySettings, SettingsError
from tests.tenants.replica.s3_server import CREDENTIALS


def test_without_it_changes_are_carried_to_a_folder_beside_the_data(tmp_path: Path) -> None:
    settings = GatewaySettings.from_environment({"ENGRAM_DATA_DIR": str(tmp_path / "a folder")})

    assert settings.replicating
    assert settings.replica_url == f"file://{tmp_path}/a%20folder/replica"
    assert settings.replica_folder == tmp_path / "a folder" / "replica"
    assert settings.database_path == tmp_path / "a folder" / "control.db"


@pytest.mark.parametrize("url", ["file:///srv/backups", "s3://bucket/prefix?endpoint=https://r2.example&region=auto"])
def test_a_folder_and_a_bucket_will_do(url: str) -> None:
    settings = GatewaySettings.from_environment({"ENGRAM_REPLICA_URL": url} | CREDENTIALS)

    assert (settings.replicating, settings.replica_url) == (True, url)


def test_off_is_an_answer() -> None:
    assert not GatewaySettings.from_environment({"ENGRAM_REPLICA_URL": "off"}).replicating


@pytest.mark.parametrize(
    "url",
    [
        "none",
        "file://relative",
        "file:///",
        "https://bucket.example",
        "s3://",
        "s3://Bucket",
        "s3://bucket?secret=x",
        "s3://key:secret@bucket",
        'file:///a"b',
        "file:///a\\b",
        "file:///a\nb",
    ],
)
def test_what_is_no_address_is_named_in_a_line(url: str) -> None:
    with pytest.raises(SettingsError, match="ENGRAM_REPLICA_URL") as refused:
        GatewaySettings.from_environment({"ENGRAM_REPLICA_URL": url})

    assert "\n" not in str(refused.value)
    assert "key:secret" not in str(refused.value)


def test_half_of_a_credential_is_named() -> None:
    with pytest.raises(SettingsError, match="AWS_SECRET_ACCESS_KEY"):
        GatewaySettings.from_environment({"ENGRAM_REPLICA_URL": "s3://bucket", "AWS_ACCESS_KEY_ID": "alone"})
