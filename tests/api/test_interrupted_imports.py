"""Imports that don't go smoothly: the engine dies, the plan is too small, the same file comes twice at once."""

from __future__ import annotations

import concurrent.futures
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from gateway.cli import main
from tests.api.answers import count, problem
from tests.api.files import bring, entry, file
from tests.service import Account, Service, wait_until


def send(service: Service, account: Account, content: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{service.url}/v1/import", json=content, headers=account.headers, timeout=120)


def test_an_engine_that_is_killed_meanwhile_does_no_harm(service: Service, account: Account) -> None:
    """Whatever it had acknowledged is there when the next one starts, and the import goes on from there."""
    account.create("here before")
    content = file(*[entry(number, f"entry {number} of a long file") for number in range(10, 4010)])
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(send, service, account, content)
        sent = [0]
        for _ in range(3):
            wait_until(lambda: answer.done() or _staged_bytes(account) > sent[0])
            sent[0] = _staged_bytes(account)
            if account.database in service.engines() and not answer.done():
                service.engines()[account.database].kill()
    outcome = answer.result()

    assert outcome.status_code == 200, outcome.text
    assert outcome.json() == {"imported": 4000, "skipped": 0, "failed": 0, "errors": [], "id_map": {}}
    assert count(account) == 4001
    found = {
        memory["id"]
        for page in range(9)
        for memory in account.get(f"/v1/memories?limit=500&offset={page * 500}").json()["memories"]
    }
    assert found == {1, *range(10, 4010)}


def _staged_bytes(account: Account) -> int:
    answer = account.get("/v1/stats")
    return int(answer.json()["storage_bytes"]) if answer.is_success else 0


def test_the_same_file_twice_at_once_is_taken_once(service: Service, account: Account) -> None:
    """As when a client has lost its patience, and sends it again while the first is under way."""
    content = file(*[entry(number) for number in range(1, 1501)])
    with concurrent.futures.ThreadPoolExecutor() as pool:
        outcomes = [answer.json() for answer in pool.map(lambda _: send(service, account, content), range(2))]

    assert sorted((outcome["imported"], outcome["skipped"]) for outcome in outcomes) == [(0, 1500), (1500, 0)]
    assert count(account) == 1500


def test_more_than_the_plan_holds_is_refused_whole(models: Path, tmp_path: Path) -> None:
    with Service(tmp_path, environment={"ENGRAM_SIGNUP_PLAN": "free"}) as node, node.sign_up() as account:
        account.create("here before")
        refused = problem(send(node, account, file(*[entry(n) for n in range(10, 1010)])), 402, "quota_exceeded")
        assert (refused["metric"], refused["limit"]) == ("memories", 1000)
        assert count(account) == 1
        problem(send(node, account, file(*[entry(n) for n in range(10, 1210)])), 402, "quota_exceeded")
        assert count(account) == 1

        assert bring(account, file(*[entry(n) for n in range(10, 1009)]))["imported"] == 999
        assert bring(account, file(*[entry(n) for n in range(10, 1009)]))["skipped"] == 999
        problem(account.post("/v1/memories", json={"content": "one too many"}), 402, "quota_exceeded")


@pytest.mark.parametrize("name", ["all.json", "all.jsonl", "all.md", "all.unknown"])
def test_the_commands_carry_a_database_in_a_file(
    service: Service, account: Account, other_account: Account, tmp_path: Path, name: str
) -> None:
    account.create("# One\n\n---\n", workspace="w")
    account.create("two")
    path = tmp_path / name
    command = CliRunner()
    told = command.invoke(main, ["export", "--url", service.url, "--key", account.key, "--output", str(path)])
    assert told.exit_code == 0, told.output
    told = command.invoke(main, ["import", "--url", service.url, "--key", other_account.key, "--input", str(path)])

    assert told.exit_code == 0, told.output
    assert "Imported 2, skipped 0" in told.output
    contents = [memory["content"] for memory in other_account.get("/v1/memories").json()["memories"]]
    assert sorted(contents) == ["# One\n\n---\n", "two"]


def test_the_export_command_takes_a_format_and_a_workspace(service: Service, account: Account, tmp_path: Path) -> None:
    account.create("one", workspace="w")
    account.create("two")
    path = tmp_path / "all"
    options = ["--url", service.url, "--key", account.key, "--output", str(path)]
    assert CliRunner().invoke(main, ["export", *options, "--format", "sqlite"]).exit_code == 0
    assert path.read_bytes().startswith(b"SQLite format 3")
    assert CliRunner().invoke(main, ["export", *options, "--workspace", "w"]).exit_code == 0
    assert [memory["content"] for memory in json.loads(path.read_bytes())["memories"]] == ["one"]
    told = CliRunner().invoke(main, ["export", *options, "--workspace", "No"])
    assert (told.exit_code, "workspace" in told.output) == (1, True)
