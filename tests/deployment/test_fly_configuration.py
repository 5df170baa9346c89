"""``fly.toml`` says the same as the image, the settings and the supervisor's configuration."""

from __future__ import annotations

import configparser
import tomllib
from typing import Any

import pytest

from gateway import node
from gateway.settings import GatewaySettings, SettingsError
from tests.deployment import dockerfile
from tests.deployment.settings import known_settings
from tests.service import ROOT

_SECRETS = {
    "ENGRAM_MASTER_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "ENGRAM_PUBLIC_URL": "https://engram.example",
    "ENGRAM_REPLICA_URL": "s3://bucket/engram?endpoint=https://fly.storage.tigris.dev&region=auto",
}


@pytest.fixture
def fly() -> dict[str, Any]:
    return tomllib.loads((ROOT / "fly.toml").read_text(encoding="utf-8"))


@pytest.fixture
def image() -> dockerfile.Stage:
    return dockerfile.parse(ROOT / "Dockerfile")[-1]


def _seconds(text: str) -> int:
    assert text.endswith("s")

    return int(text[:-1])


def _stop_seconds_max() -> int:
    """The supervisor ends one program after the other, whatever their priorities, each within its ``stopwaitsecs``."""
    configuration = configparser.RawConfigParser()
    configuration.read(ROOT / "infra" / "supervisord.conf", encoding="utf-8")
    programs = [name for name in configuration.sections() if name.startswith("program:")]
    assert programs

    return sum(configuration.getint(name, "stopwaitsecs") for name in programs)


def test_traffic_goes_to_the_port_that_the_gateway_listens_on(fly: dict[str, Any], image: dockerfile.Stage) -> None:
    port = fly["http_service"]["internal_port"]

    assert str(port) == fly["env"]["ENGRAM_PORT"]
    assert str(port) == image.environment["ENGRAM_PORT"]
    assert image.last("EXPOSE").text == str(port)
    assert fly["env"]["ENGRAM_HOST"] == "0.0.0.0"
    assert fly["http_service"]["force_https"] is True


def test_data_lie_on_the_volume(fly: dict[str, Any], image: dockerfile.Stage) -> None:
    assert fly["mounts"]["destination"] == fly["env"]["ENGRAM_DATA_DIR"]
    assert fly["mounts"]["destination"] == image.environment["ENGRAM_DATA_DIR"]
    assert fly["mounts"]["destination"] == image.last("VOLUME").text


def test_every_setting_is_one_that_the_service_reads(fly: dict[str, Any]) -> None:
    assert set(fly["env"]) <= known_settings()


def test_it_runs_in_production_with_the_secrets_and_not_without_one(fly: dict[str, Any]) -> None:
    assert GatewaySettings.from_environment(fly["env"] | _SECRETS).production

    for name in _SECRETS:
        with pytest.raises(SettingsError, match=name):
            GatewaySettings.from_environment(fly["env"] | _SECRETS | {name: ""})


def test_each_secret_is_named_in_the_file_and_none_has_a_value_there(fly: dict[str, Any]) -> None:
    text = (ROOT / "fly.toml").read_text(encoding="utf-8")

    for name in _SECRETS:
        assert f"fly secrets set {name}=" in text
        assert name not in fly["env"]


def test_the_machine_stays_and_is_asked_whether_it_is_ready(fly: dict[str, Any]) -> None:
    service = fly["http_service"]

    assert service["auto_stop_machines"] == "off"
    assert service["min_machines_running"] >= 1
    assert [check["path"] for check in service["checks"]] == ["/ready"]


def test_a_stop_leaves_every_program_its_time(fly: dict[str, Any], image: dockerfile.Stage) -> None:
    assert fly["kill_signal"] == image.last("STOPSIGNAL").text == "SIGTERM"
    assert _stop_seconds_max() < _seconds(fly["kill_timeout"])


def test_engram_up_waits_longer_than_its_programs_and_shorter_than_the_machine(fly: dict[str, Any]) -> None:
    assert _stop_seconds_max() < node._STOP_S < _seconds(fly["kill_timeout"])


def test_the_machine_has_a_size(fly: dict[str, Any]) -> None:
    (machine,) = fly["vm"]

    assert machine["size"]
    assert machine["memory"] == "4gb"
