"""``engram doctor`` on a real node, running and stopped: what it finds, what it says, and the way out of quarantine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service import Account, Service, wait_until

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def node(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A node of this module's own: its databases get damaged."""
    with Service(tmp_path_factory.mktemp("doctor")) as running:
        yield running


@pytest.fixture
def account(node: Service) -> Iterator[Account]:
    with node.sign_up() as client:
        for number in range(20):
            client.create(f"memory number {number} about the harbour")
        yield client


def doctor(node: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("engram")), "doctor", *arguments]
    return subprocess.run(command, env=node.environment, capture_output=True, text=True, timeout=120, check=False)


def findings(node: Service, *arguments: str) -> dict[str, dict[str, Any]]:
    answer = doctor(node, "--json", *arguments)
    assert answer.stderr == ""
    return {finding["database"]: finding for finding in json.loads(answer.stdout)}


def sleep(node: Service, account: Account) -> Path:
    """End the account's engine cleanly and return its file."""
    engine = node.engines()[account.database]
    engine.terminate()
    wait_until(lambda: not engine.is_running())
    return node.folder / "tenants" / account.database[3:5] / account.database / "memory.db"


def flip(path: Path, what: bytes) -> None:
    position = path.read_bytes().index(what)
    descriptor = os.open(path, os.O_RDWR)
    os.pwrite(descriptor, bytes([os.pread(descriptor, 1, position)[0] ^ 0x10]), position)
    os.close(descriptor)


def test_sound_databases_of_a_running_node(node: Service, account: Account) -> None:
    answer = doctor(node)

    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert f"{account.database}  sound  20 memories" in answer.stdout
    assert "none of them not sound" in answer.stdout
    assert account.create("goes on")["id"] == 21


def test_a_damaged_database_is_refused_shown_and_let_out_when_it_is_whole_again(node: Service, account: Account) -> None:
    path = sleep(node, account)
    flip(path, b"number 13 about")

    answer = account.get("/v1/memories?limit=100")
    assert (answer.status_code, answer.json()["code"]) == (503, "database_corrupt")
    assert int(answer.headers["Retry-After"]) >= 60
    assert account.post("/v1/memories", json={"content": "more"}).json()["code"] == "database_corrupt"
    with node.sign_up() as other:
        assert other.create("unharmed")["id"] == 1
    readiness = httpx.get(f"{node.url}/ready").json()
    assert (readiness["parts"]["host"]["status"], readiness["parts"]["host"]["quarantined"]) == ("ready", 1)
    assert "engram_databases_quarantined 1.0" in httpx.get(f"{node.url}/metrics").text

    shown = doctor(node)
    assert shown.returncode == 1
    assert f"{account.database}  NOT SOUND, in quarantine" in shown.stdout
    assert "harbour" not in shown.stdout
    assert doctor(node, "--release", account.database).returncode == 1
    assert findings(node, account.database)[account.database]["quarantined"]

    flip(path, bytes([b"n"[0] ^ 0x10]) + b"umber 13 about")
    whole = doctor(node, account.database)
    assert (whole.returncode, "--release serves it again" in whole.stdout) == (1, True)
    assert account.get("/v1/stats").status_code == 503
    released = doctor(node, "--release", account.database)
    assert (released.returncode, "released from quarantine" in released.stdout) == (0, True)
    assert len(account.get("/v1/memories?limit=100").json()["memories"]) == 20


def test_a_check_finds_damage_that_nobody_has_read_yet(node: Service, account: Account) -> None:
    path = sleep(node, account)
    flip(path, b"number 13 about")

    found = findings(node, account.database)[account.database]

    assert not found.get("sound", False)
    assert found["report"]["problems"]
    wait_until(lambda: account.get("/v1/stats").status_code == 503)


def test_a_stopped_node_is_checked_as_well(node: Service, account: Account) -> None:
    node.stop()
    try:
        found = findings(node, account.database)[account.database]
        assert found["sound"]
        assert found["report"]["left_out"] == []

        folder = node.folder / "tenants" / account.database[3:5] / account.database
        (folder / "memory.db").write_bytes(b"no database at all, and of some length" * 1000)
        answer = doctor(node, account.database)
        assert answer.returncode == 1
        assert "damaged" in answer.stdout
    finally:
        node.start()
    assert account.get("/v1/stats").json()["code"] == "database_corrupt"


def test_a_name_that_nobody_has(node: Service) -> None:
    answer = doctor(node, "db_" + "z" * 20)

    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert "Traceback" not in answer.stderr
