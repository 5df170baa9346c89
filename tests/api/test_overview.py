"""Statistics, tags, activity and duplicates over REST."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.answers import problem
from tests.service import Account


def get(account: Account, path: str, **parameters: Any) -> Any:
    answer = account.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_statistics_of_all_and_of_one_workspace(account: Account) -> None:
    account.create("one", workspace="w1", tags=["a"])
    gone = account.create("two")["id"]
    account.delete(f"/v1/memories/{gone}")

    assert get(account, "/v1/stats")["by_workspace"] == {"w1": 1}
    assert get(account, "/v1/stats")["trash"] == 1
    assert get(account, "/v1/stats", workspace="default")["memories"] == 0
    assert get(account, "/v1/stats", workspace="w1")["by_tag"] == {"a": 1}


def test_tags_roll_up(account: Account) -> None:
    account.create("one", tags=["a/b", "a/c"])

    assert get(account, "/v1/tags", prefix="a") == {
        "tags": [
            {"tag": "a", "count": 0, "total": 1},
            {"tag": "a/b", "count": 1, "total": 1},
            {"tag": "a/c", "count": 1, "total": 1},
        ],
        "truncated": False,
    }


def test_activity_shows_who_did_what(account: Account) -> None:
    memory = account.create("before")["id"]
    account.patch(f"/v1/memories/{memory}", json={"content": "after", "change_summary": "It has changed"})
    found = get(account, "/v1/activity", timeframe="30m")
    keys = {key["id"] for key in get(account, "/v1/keys")["keys"]}

    assert [(event["what"], event["version"], event["excerpt"]) for event in found["events"]] == [
        ("updated", 2, "after"),
        ("created", 1, "before"),
    ]
    assert found["events"][0]["summary"] == "It has changed"
    assert {event["by"] for event in found["events"]} <= keys
    assert found["truncated"] is False


def test_duplicates_are_found_by_text_and_by_meaning(account: Account) -> None:
    account.create("The office cat sleeps on the printer.")
    account.create("The cat of the office is sleeping on the printer.")
    account.create("Invoices above ten thousand need a second signature.")
    account.create("invoices above ten thousand need a second signature.")
    account.wait_for_embeddings()
    found = get(account, "/v1/duplicates", threshold="0.85")

    assert [(entry["reason"], [memory["id"] for memory in entry["memories"]]) for entry in found["duplicates"]] == [
        ("same_text", [3, 4]),
        ("similar", [1, 2]),
    ]
    assert found["examined"] == 4
    assert get(account, "/v1/stats")["memories"] == 4


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("/v1/stats", "workspace", "No Such"),
        ("/v1/tags", "limit", "0"),
        ("/v1/tags", "prefix", ""),
        ("/v1/activity", "timeframe", "yesterday"),
        ("/v1/activity", "timeframe", "0d"),
        ("/v1/activity", "limit", "many"),
        ("/v1/duplicates", "threshold", "2"),
        ("/v1/duplicates", "threshold", "nan"),
        ("/v1/duplicates", "before", "-1"),
        ("/v1/duplicates", "before", str(2**64)),
        ("/v1/tags", "unknown", "1"),
    ],
)
def test_a_bad_parameter_is_named(account: Account, path: str, name: str, value: str) -> None:
    problem(account.get(path, params={name: value}), 400, "invalid", name)
