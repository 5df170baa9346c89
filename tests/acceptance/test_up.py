"""``./scripts/up``'s entry point: starting, refusing to start, stopping."""

from __future__ import annotations

import base64
import contextlib
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.service import Service, free_port, wait_until

pytestmark = pytest.mark.acceptance
ENGRAM = str(Path(sys.executable).with_name("engram"))


@pytest.fixture
def node(models: Path, tmp_path: Path) -> Iterator[Service]:
    """A node of this test's own."""
    with Service(tmp_path / "data") as running:
        yield running


def refused(service: Service, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``engram up`` where it can't start, and return what it said."""
    return subprocess.run(
        [ENGRAM, "up"], env=service.environment | environment, capture_output=True, text=True, timeout=60, check=False
    )


def is_one_line(answer: subprocess.CompletedProcess[str]) -> bool:
    return answer.stderr.count("\n") == 1 and "Traceback" not in answer.stdout + answer.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_up_alone_stops_everything(node: Service, number: signal.Signals) -> None:
    with node.sign_up() as account:
        account.create("so that an engine runs")
    processes = node.processes()
    assert len(processes) >= 8  # up, supervisor, gateway, host, fork server, embedder, replicator, engine

    assert node.stop(number) == 0
    assert [process for process in processes if process.is_running()] == []


def test_killing_up_stops_everything_too(node: Service) -> None:
    with node.sign_up() as account:
        account.create("so that an engine runs")
    processes = node.processes()
    node.stop(signal.SIGKILL)

    wait_until(lambda: not [process for process in processes if process.is_running()], 60)


def test_a_second_up_on_the_same_folder_or_port_is_refused(node: Service, tmp_path: Path) -> None:
    same_folder = refused(node, ENGRAM_PORT=str(free_port()))
    same_port = refused(node, ENGRAM_DATA_DIR=str(tmp_path / "other"))

    assert same_folder.returncode == same_port.returncode == 2
    assert is_one_line(same_folder)
    assert str(node.pid) in same_folder.stderr
    assert is_one_line(same_port)
    assert f"Port {node.port}" in same_port.stderr
    assert httpx.get(f"{node.url}/ready").json()["status"] == "ready"


def test_what_is_in_the_way_is_one_clear_line(models: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    service = Service(tmp_path / "data")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answers = {
            "can't be written": refused(service, ENGRAM_DATA_DIR=str(tmp_path / "file" / "data")),
            "can't be used": refused(service, ENGRAM_PORT=str(taken.getsockname()[1])),
            "ENGRAM_PORT is": refused(service, ENGRAM_PORT="eighty"),
            "ENGRAM_SIGNUP_PLAN is": refused(service, ENGRAM_SIGNUP_PLAN="gold"),
            "There is no user": refused(service, ENGRAM_USER="no-such-user"),
        }

    for words, answer in answers.items():
        assert answer.returncode == 2, answer
        assert words in answer.stderr
        assert is_one_line(answer), answer.stderr


def test_production_refuses_insecure_defaults_and_names_each(tmp_path: Path) -> None:
    answer = refused(Service(tmp_path), ENGRAM_ENV="production")

    assert answer.returncode == 2
    assert "ENGRAM_MASTER_KEY" in answer.stderr
    assert "ENGRAM_PUBLIC_URL" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_production_does_not_run_everything_as_root_nor_with_less_isolation_than_all(tmp_path: Path) -> None:
    key = base64.b64encode(os.urandom(32)).decode()
    secure = {"ENGRAM_ENV": "production", "ENGRAM_MASTER_KEY": key, "ENGRAM_PUBLIC_URL": "https://memory.example.com"}
    secure["ENGRAM_REPLICA_URL"] = "off"
    answer = refused(Service(tmp_path), **secure)

    assert answer.returncode == 2
    assert is_one_line(answer)
    assert ("needs ENGRAM_USER" if os.geteuid() == 0 else "ENGRAM_ISOLATION=partial accepts that") in answer.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a node as somebody else")
def test_started_by_root_the_programs_may_run_as_another_user(models: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.owner() == "root" and folder.is_relative_to("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o011)
    nobody = pwd.getpwnam("nobody").pw_uid
    service = Service(tmp_path / "data", environment={"ENGRAM_USER": "nobody"})
    if not _can_run_python(nobody):
        answer = refused(service)  # this interpreter lies in somebody's closed home
        assert (answer.returncode, is_one_line(answer)) == (2, True)
        return
    with service as node:
        with node.sign_up() as account:
            account.create("written by nobody")
        programs = ("gateway.main", "host.main", "replica.main", "embedder.main")
        users = {node.program(name).uids().real for name in programs}
        engine = node.engines()[account.database].uids().real

    assert users == {nobody}
    assert engine not in {0, nobody}


def test_without_a_model_words_are_found_and_meaning_comes_when_it_does(models: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "models"
    environment = {"ENGRAM_MODELS_DIR": str(elsewhere), "ENGRAM_EMBEDDING_MODEL": "all-MiniLM-L6-v2+int8"}
    elsewhere.mkdir()
    (elsewhere / "all-MiniLM-L6-v2+int8").write_text("in the way of the model")
    with Service(tmp_path / "data", environment=environment) as node, node.sign_up() as account:
        assert "Traceback" not in node.output
        readiness = httpx.get(f"{node.url}/ready")
        assert (readiness.status_code, readiness.json()["status"]) == (200, "degraded")

        account.create("The office cat sleeps on the printer.")
        assert account.search("cat")
        assert account.post("/v1/search", json={"query": "cat"}).json()["mode"] == "keyword"
        semantic = account.post("/v1/search", json={"query": "feline", "mode": "semantic"})
        assert (semantic.status_code, semantic.headers["Retry-After"]) == (503, "1")
        assert account.get("/v1/stats").json()["pending_embeddings"] == 1

        (elsewhere / "all-MiniLM-L6-v2+int8").unlink()
        (elsewhere / "all-MiniLM-L6-v2+int8").symlink_to(models / "all-MiniLM-L6-v2+int8")
        account.wait_for_embeddings()
        assert account.search("feline at work")[0]["memory"]["content"] == "The office cat sleeps on the printer."
        wait_until(lambda: httpx.get(f"{node.url}/ready").json()["status"] == "ready")


def test_a_second_start_is_fast_and_finds_everything(node: Service) -> None:
    with node.sign_up() as account:
        memory = account.create("kept over a restart")
        node.stop()
        begun = time.monotonic()
        node.start()
        print(f"second start: {time.monotonic() - begun:.1f} s")

        assert account.get(f"/v1/memories/{memory['id']}").json()["content"] == "kept over a restart"


def test_each_customer_has_a_process_and_a_file(node: Service) -> None:
    with node.sign_up() as one, node.sign_up() as two:
        first, second = one.create("only of the first"), two.create("only of the second")
        assert first["id"] == second["id"] == 1

        assert [memory["content"] for memory in one.get("/v1/memories").json()["memories"]] == ["only of the first"]
        assert [memory["content"] for memory in two.get("/v1/memories").json()["memories"]] == ["only of the second"]
        assert one.search("second", mode="keyword") == []
        engines = node.engines()
        files = {str(path.relative_to(node.folder)) for path in node.folder.glob("tenants/*/*/memory.db")}

        assert engines.keys() == {one.database, two.database}
        assert files == {f"tenants/{name[3:5]}/{name}/memory.db" for name in engines}
        listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert all(f"engram engine {name}" in listing for name in engines)


def test_every_acknowledged_write_survives_every_kill(node: Service) -> None:
    with node.sign_up() as account:
        acknowledged = {account.create("before any kill")["id"]}

        node.engines()[account.database].kill()
        acknowledged.add(account.create("after the engine")["id"])

        engine = node.engines()[account.database]
        node.program("gateway.main").kill()
        wait_until(lambda: _answers(account))
        acknowledged.add(account.create("after the gateway")["id"])
        node.program("tenants.host.main").kill()
        acknowledged.add(_create_when_possible(account, "after the host"))
        assert node.engines()[account.database] == engine  # neither of the two takes an engine with it

        for name in ("engram fork-server", "engine.embedder.main"):
            node.program(name).kill()
            acknowledged.add(_create_when_possible(account, f"after {name}"))

        everything = node.processes()
        for process in everything:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended with its parent
                process.kill()
        psutil.wait_procs(everything, timeout=30)
        node.stop()
        node.start()

        listed = {memory["id"] for memory in account.get("/v1/memories?limit=500").json()["memories"]}
        assert acknowledged <= listed


def _can_run_python(uid: int) -> bool:
    try:
        subprocess.run([sys.executable, "-c", "import gateway"], user=uid, cwd="/", check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _answers(account: httpx.Client) -> bool:
    try:
        return account.get("/v1/stats").status_code == 200
    except httpx.HTTPError:
        return False


def _create_when_possible(account: httpx.Client, content: str) -> int:
    """Create, asking again while the service says 503: the client's part after a kill."""
    for _ in range(600):
        try:
            answer = account.post("/v1/memories", json={"content": content})
        except httpx.HTTPError:
            answer = None
        if answer is not None and answer.status_code == 201:
            return int(answer.json()["id"])
        assert answer is None or answer.status_code == 503, answer.text
        time.sleep(0.1)
    raise AssertionError("the service did not come back")
