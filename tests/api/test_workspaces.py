"""Workspaces over REST."""

from __future__ import annotations

import pytest

from tests.api.answers import problem
from tests.service import Account


def workspaces(account: Account) -> dict[str, int]:
    answer = account.get("/v1/workspaces")
    assert answer.status_code == 200, answer.text
    return {entry["workspace"]: entry["memories"] for entry in answer.json()["workspaces"]}


def test_workspaces_are_listed_counted_filled_and_emptied(account: Account) -> None:
    ids = [account.create(f"note {number}", workspace="red", type="todo")["id"] for number in range(3)]
    moved = account.post("/v1/workspaces/blue/move", json={"ids": ids[:2]})
    counted = account.get("/v1/workspaces/blue")
    emptied = account.delete("/v1/workspaces/blue", params={"move_to": "red"})
    trashed = account.delete("/v1/workspaces/red")

    assert moved.json() == {"workspace": "blue", "moved": ids[:2]}
    assert (counted.json()["memories"], counted.json()["by_type"]) == (2, {"todo": 2})
    assert emptied.json() == {"workspace": "blue", "trashed": 0, "moved": 2, "remaining": 0}
    assert trashed.json() == {"workspace": "red", "trashed": 3, "moved": 0, "remaining": 0}
    assert workspaces(account) == {"red": 0}
    assert account.search("note") == []


def test_a_moved_memory_is_found_where_it_is(account: Account) -> None:
    memory = account.create("The office cat sleeps on the printer.", workspace="red")["id"]
    account.post("/v1/workspaces/blue/move", json={"ids": [memory]})

    assert account.search("cat", workspace="red") == []
    assert [hit["memory"]["id"] for hit in account.search("feline at work", workspace="blue")] == [memory]


def test_a_move_that_is_sent_again_is_carried_out_once(account: Account) -> None:
    memory = account.create("note", workspace="red")["id"]
    headers = {"Idempotency-Key": "move-1"}
    first = account.post("/v1/workspaces/blue/move", json={"ids": [memory]}, headers=headers)
    again = account.post("/v1/workspaces/blue/move", json={"ids": [memory]}, headers=headers)

    assert first.json() == again.json() == {"workspace": "blue", "moved": [memory]}


def test_what_is_not_there_is_not_found(account: Account, other_account: Account) -> None:
    foreign = other_account.create("note", workspace="red")["id"]
    answer = account.post("/v1/workspaces/blue/move", json={"ids": [foreign]})

    problem(account.get("/v1/workspaces/red"), 404, "not_found")
    problem(account.delete("/v1/workspaces/red"), 404, "not_found")
    problem(answer, 404, "not_found", "ids[0]")
    assert workspaces(other_account) == {"red": 1}


@pytest.mark.parametrize(
    ("body", "field"), [({}, "ids"), ({"ids": []}, "ids"), ({"ids": ["1"]}, "ids[0]"), ({"ids": [1], "id": 2}, "id")]
)
def test_a_bad_move_is_named(account: Account, body: dict[str, object], field: str) -> None:
    problem(account.post("/v1/workspaces/blue/move", json=body), 400, "invalid", field)


def test_a_bad_name_is_named(account: Account) -> None:
    account.create("note", workspace="red")

    problem(account.get("/v1/workspaces/No Such"), 400, "invalid", "workspace")
    problem(account.post("/v1/workspaces/Blue/move", json={"ids": [1]}), 400, "invalid", "workspace")
    problem(account.delete("/v1/workspaces/red", params={"move_to": "No Such"}), 400, "invalid", "move_to")
    problem(account.delete("/v1/workspaces/red", params={"move_to": "red"}), 400, "invalid", "move_to")
    problem(account.delete("/v1/workspaces/red", params={"mode": "trash"}), 400, "invalid", "mode")
    assert workspaces(account) == {"red": 1}
