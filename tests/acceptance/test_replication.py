"""Replication as a customer and an operator see it, with the parts behind it failing."""

from __future__ import annotations

import base64
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest

from tests.api.answers import problem
from tests.api.backups import HEADER, REPLICATED, contents, create, moment, restore
from tests.service import Account, Service, wait_until

pytestmark = pytest.mark.acceptance
ENGRAM = str(Path(sys.executable).with_name("engram"))


@pytest.fixture(scope="module")
def node(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A node of this module's own. Whoever stops a program of it starts it again."""
    with Service(tmp_path_factory.mktemp("replication") / "data") as running:
        yield running


@pytest.fixture
def account(node: Service) -> Iterator[Account]:
    with node.sign_up() as client:
        yield client


class Paused:
    """A replicator that does not answer: as if the object store hung. A context manager."""

    def __init__(self, node: Service) -> None:
        self._process = node.program("replica.main")

    def __enter__(self) -> None:
        self._process.suspend()

    def __exit__(self, *exc_info: object) -> None:
        self._process.resume()


def test_a_write_that_can_not_be_replicated_is_stored_and_said_to_be_and_waits_again(node: Service, account: Account) -> None:
    create(account, "first")
    write = {"json": {"content": "second"}, "headers": REPLICATED | {"Idempotency-Key": "once"}}
    with Paused(node):
        refused = account.post("/v1/memories", **write)
        problem(refused, 503, "not_replicated")
        assert HEADER not in refused.headers
        assert int(refused.headers["Retry-After"]) > 0
        assert account.post("/v1/memories", json={"content": "third"}).status_code == 201  # others wait for nothing
        assert contents(account) == ["first", "second", "third"]
    again = account.post("/v1/memories", **write)

    assert (again.status_code, again.headers[HEADER]) == (201, "replicated")
    assert contents(account) == ["first", "second", "third"]


def test_of_two_restores_at_a_time_one_is_refused(node: Service, account: Account) -> None:
    create(account, "first")
    body = {"at": moment(account), "mode": "in_place"}
    answers: list[httpx.Response] = []
    with Account(node.url, account.key, account.database) as other:
        threads = [
            threading.Thread(target=lambda client=client: answers.append(client.post("/v1/restore", json=body)))
            for client in (account, other)
        ]
        with Paused(node):
            for thread in threads:
                thread.start()
            wait_until(lambda: len(answers) == 1)
            refused = problem(answers[0], 409, "conflict")
            assert refused["retry_after"] > 0
        for thread in threads:
            thread.join()

    assert answers[1].status_code == 200, answers[1].text
    assert contents(account) == ["first"]


def test_a_damaged_database_is_restored_in_place(node: Service, account: Account) -> None:
    for number in range(50):
        account.create(f"memory {number}: " + "words that fill a page " * 40)
    create(account, "last")
    at = moment(account)
    node.engines()[account.database].terminate()
    wait_until(lambda: account.database not in node.engines())
    file = node.tenant_folder(account) / "memory.db"
    with file.open("r+b") as database:
        for page in range(2, file.stat().st_size // 4096, 3):
            database.seek(page * 4096 + 500)
            database.write(b"\xff" * 200)
    wait_until(lambda: account.get("/v1/memories?limit=500").status_code == 503)
    problem(account.get("/v1/memories?limit=500"), 503, "database_corrupt")
    stored = {folder.name for folder in (node.folder / "replica" / "tenants").iterdir()}
    for mode in ("preview", "fork"):  # both need the database itself, and nothing is left of the attempt
        restore(account, at, mode, status=503)
    assert {folder.name for folder in (node.folder / "replica" / "tenants").iterdir()} == stored

    done = restore(account, at, "in_place")

    assert done["restored_to"] == at
    assert contents(account)[-1] == "last"
    assert len(contents(account)) == 51


def test_the_commands_tell_and_restore(node: Service, account: Account, tmp_path: Path) -> None:
    create(account, "first")
    at = moment(account)
    create(account, "second")

    def engram(*arguments: str, **environment: str) -> str:
        own = {"PATH": os.environ["PATH"], "ENGRAM_KEY": account.key, "ENGRAM_URL": node.url}
        answer = subprocess.run(
            [ENGRAM, *arguments], env=own | environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    assert moment(account) in engram("backups")
    assert "- 1 made since would be gone" in engram("restore", "--at", at)
    assert contents(account) == ["first", "second"]
    fork = engram("restore", "--at", at, "--mode", "fork")
    assert "ek_live_" in fork
    undo = engram("restore", "--at", at, "--mode", "in-place", "--yes")
    assert "To take that back: engram restore --mode in-place --at " in undo
    assert contents(account) == ["first"]

    elsewhere = {"ENGRAM_REPLICA_URL": (node.folder / "replica").as_uri()}
    engram("admin", "restore", account.database, "--at", at, "--to", str(tmp_path / "then.db"), **elsewhere)
    engram("admin", "restore", account.database, "--to", str(tmp_path / "now.db"), **elsewhere)
    assert stored(tmp_path / "then.db") == ["first"]
    assert stored(tmp_path / "now.db") in (["first"], ["first", "second"])  # the restore itself may still be on its way


def stored(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [row[0] for row in database.execute("SELECT content FROM memories ORDER BY id")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["db_" + "a" * 20, "--to", "new.db"], "nothing of db_" + "a" * 20),
        (["db_" + "a" * 20, "--to", "taken.db"], "not overwritten"),
        (["../etc", "--to", "new.db"], "not a database's name"),
        (["db_" + "a" * 20, "--to", "new.db", "--at", "yesterday"], "not a time"),
        (["db_" + "a" * 20, "--to", "new.db", "--at", "2026-01-01T00:00:00"], "time zone"),
    ],
)
def test_the_operators_restore_says_in_a_line_what_is_wrong(tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "taken.db").write_text("somebody's")
    (tmp_path / "objects").mkdir()
    answer = subprocess.run(
        [ENGRAM, "admin", "restore", *arguments],
        env={"PATH": os.environ["PATH"], "ENGRAM_REPLICA_URL": (tmp_path / "objects").as_uri()},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert answer.returncode == 1
    assert words in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert (tmp_path / "taken.db").read_text() == "somebody's"
    assert not (tmp_path / "new.db").exists()


def test_the_plan_bounds_forks_and_one_that_failed_leaves_nothing(models: Path, tmp_path: Path) -> None:
    with Service(tmp_path / "data", environment={"ENGRAM_SIGNUP_PLAN": "free"}) as node, node.sign_up() as account:
        create(account, "first")
        at = moment(account)
        history = node.folder / "replica" / "tenants" / account.database / "ltx"
        history.rename(history.with_name("elsewhere"))
        failed = account.post("/v1/restore", json={"at": at, "mode": "fork"})
        assert failed.status_code in (400, 503), failed.text
        history.with_name("elsewhere").rename(history)
        restore(account, at, "fork", status=201)
        refused = problem(account.post("/v1/restore", json={"at": at, "mode": "fork"}), 402, "quota_exceeded")

        assert (refused["metric"], refused["current"], refused["limit"]) == ("databases", 2, 2)


def test_where_nothing_is_replicated_it_says_so(models: Path, tmp_path: Path) -> None:
    with Service(tmp_path / "data", environment={"ENGRAM_REPLICA_URL": "off"}) as node, node.sign_up() as account:
        assert "Nothing is replicated" in node.output
        account.create("here alone")
        readiness = httpx.get(f"{node.url}/ready").json()
        assert (readiness["status"], readiness["parts"]["replicator"]["replicating"]) == ("ready", False)
        assert account.get("/v1/backups").json()["replicating"] is False
        problem(account.post("/v1/memories", json={"content": "x"}, headers=REPLICATED), 409, "conflict", HEADER)
        at = "2026-03-21T12:52:55Z"
        problem(account.post("/v1/restore", json={"at": at, "mode": "preview"}), 409, "conflict")
        assert contents(account) == ["here alone"]
        assert list((node.tenant_folder(account) / "outbox").iterdir()) == []
    assert not (tmp_path / "data" / "replica").exists()


def test_each_program_knows_its_own_secrets_and_no_other(models: Path, tmp_path: Path) -> None:
    master_key = base64.b64encode(os.urandom(32)).decode()
    given = {
        "ENGRAM_MASTER_KEY": master_key,
        "AWS_ACCESS_KEY_ID": "the-stores",
        "AWS_SECRET_ACCESS_KEY": "credentials",
        "ENGRAM_STRIPE_API_KEY": "the-money",
    }
    may_know = {
        "gateway.main": {"ENGRAM_MASTER_KEY", "ENGRAM_STRIPE_API_KEY"},
        "replica.main": {"ENGRAM_MASTER_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
        "host.main": set(),
        "embedder.main": set(),
        "engram fork-server": set(),
    }
    with Service(tmp_path / "data", environment=given) as node:
        known = {name: set(node.program(name).environ()) & given.keys() for name in may_know}
        lines = [" ".join(line) for process in psutil.process_iter(["cmdline"]) if (line := process.info["cmdline"])]

    assert known == may_know
    assert not any(secret in line for line in lines for secret in given.values())


def test_a_stop_carries_away_what_was_written_last(models: Path, tmp_path: Path) -> None:
    with Service(tmp_path / "data") as node, node.sign_up() as account:
        for number in range(20):
            account.create(f"memory {number}")
        assert node.stop(signal.SIGTERM) == 0

        assert list((node.tenant_folder(account) / "outbox").iterdir()) == []
