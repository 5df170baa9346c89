"""Lists: filters, pages and parameters."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.api.answers import problem
from tests.service import Account


def ids(account: Account, **parameters: Any) -> list[int]:
    answer = account.get("/v1/memories", params=parameters)
    assert answer.status_code == 200, answer.text
    return [memory["id"] for memory in answer.json()["memories"]]


def pages(account: Account, **parameters: Any) -> list[list[int]]:
    """Follow the cursors to the end."""
    found: list[list[int]] = []
    while True:
        answer = account.get("/v1/memories", params=parameters)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found.append([memory["id"] for memory in body["memories"]])
        if body["next_cursor"] is None:
            return found
        parameters["cursor"] = body["next_cursor"]


def test_an_empty_list_has_no_next_page(account: Account) -> None:
    assert account.get("/v1/memories").json() == {"memories": [], "next_cursor": None}


def test_the_newest_comes_first_and_a_change_does_not_move_it(account: Account) -> None:
    created = [account.create(f"note {n}")["id"] for n in range(4)]
    account.patch(f"/v1/memories/{created[0]}", json={"content": "changed"})

    assert ids(account) == created[::-1]


def test_all_tags_must_be_there_and_match_exactly(account: Account) -> None:
    both = account.create("x", tags=["a", "b", "c"])["id"]
    first = account.create("x", tags=["a", "a/b"])["id"]
    account.create("x", tags=["A", "ab"])
    account.create("x")

    assert ids(account, tag="a") == [first, both]
    assert ids(account, tag=["a", "b"]) == [both]
    assert ids(account, tag=["a", "a"]) == [first, both]
    assert ids(account, tag=["a", "none"]) == []
    assert ids(account, tag="a/b") == [first]
    assert ids(account, tag="%") == []


def test_filters_are_joined_and_follow_changes(account: Account) -> None:
    todo = account.create("x", type="todo", workspace="w1", tags=["t"])["id"]
    note = account.create("x", workspace="w1")["id"]
    daily = account.create("x", workspace="w2", tier="daily")["id"]

    assert ids(account, type="todo") == [todo]
    assert ids(account, type="note") == [daily, note]
    assert ids(account, workspace="w1") == [note, todo]
    assert ids(account, tier="daily") == [daily]
    assert ids(account, tier="permanent", workspace="w1", type="todo", tag="t") == [todo]
    assert ids(account, workspace="w2", type="todo") == []

    account.patch(f"/v1/memories/{todo}", json={"tags": ["u"], "workspace": "w2", "type": "note", "tier": "daily"})
    assert ids(account, tag="t") == []
    assert ids(account, tag="u", workspace="w2", type="note", tier="daily") == [todo]


def test_pages_have_no_gap_and_no_repeat_while_new_memories_arrive(account: Account) -> None:
    created = [account.create(f"note {n}")["id"] for n in range(120)]
    seen: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        body = account.get("/v1/memories", params={"limit": 7, **cursor}).json()
        seen += [memory["id"] for memory in body["memories"]]
        assert len(body["memories"]) == 7 or body["next_cursor"] is None
        if body["next_cursor"] is None:
            break
        cursor = {"cursor": body["next_cursor"]}
        account.create("arrived between two pages")

    assert seen == created[::-1]


def test_pages_of_a_filtered_list_are_full(account: Account) -> None:
    wanted = [account.create("x", tags=["even"] if n % 2 == 0 else ["odd"])["id"] for n in range(20)][::2]

    assert pages(account, tag="even", limit=5) == [wanted[9:4:-1], wanted[4::-1]]


def test_what_is_deleted_between_two_pages_leaves_no_gap(account: Account) -> None:
    created = [account.create(f"note {n}")["id"] for n in range(9)][::-1]
    first = account.get("/v1/memories", params={"limit": 3}).json()
    for gone in (created[2], created[4]):
        account.delete(f"/v1/memories/{gone}")

    assert [memory["id"] for memory in first["memories"]] == created[:3]
    assert pages(account, limit=3, cursor=first["next_cursor"]) == [[created[3], *created[5:7]], created[7:]]


def test_the_last_page_that_is_just_full_has_no_next(account: Account) -> None:
    created = [account.create(f"note {n}")["id"] for n in range(6)][::-1]

    assert pages(account, limit=3) == [created[:3], created[3:]]
    assert pages(account, limit=500) == [created]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=1.5", "limit"),
        ("limit=100000000000000000000000000000000", "limit"),
        ("type=nope", "type"),
        ("type=", "type"),
        ("tier=weekly", "tier"),
        ("workspace=UPPER", "workspace"),
        ("workspace=a%0a", "workspace"),
        ("workspace=..%2f", "workspace"),
        ("tag=", "tags[0]"),
        ("tag=a&tag=" + "x" * 129, "tags[1]"),
        ("&".join(f"tag={n}" for n in range(17)), "tags"),
        ("offset=-3", "offset"),
        ("offset=3&cursor=e30", "offset"),
        ("in_trash=yes", "in_trash"),
        ("filter=x", "filter"),
        ("filter=[]", "filter"),
        ("filter={%22colour%22:{%22eq%22:1}}", "filter.colour"),
        ("scope_type=nobody", "scope.type"),
        ("tags=a", "tags"),
        ("Type=note", "Type"),
        ("tenant_id=other", "tenant_id"),
        ("sort=colour", "sort"),
        ("sort=-", "sort"),
    ],
)
def test_a_bad_or_unknown_parameter_is_named(account: Account, query: str, field: str) -> None:
    problem(account.get(f"/v1/memories?{query}"), 400, "invalid", field)


def _cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "zzzz",
        "%ff",
        "a" * 129,
        "'; DROP TABLE memories",
        _cursor("1"),
        _cursor("1.2.3"),
        _cursor("a.b"),
        _cursor(f"{2**63}.1"),
    ],
)
def test_a_bad_cursor_is_named(account: Account, cursor: str) -> None:
    account.create("x")

    problem(account.get("/v1/memories", params={"cursor": cursor}), 400, "invalid", "cursor")


def test_a_cursor_of_another_tenant_shows_nothing_of_it(account: Account, other_account: Account) -> None:
    for n in range(3):
        other_account.create(f"secret {n}")
    cursor = other_account.get("/v1/memories", params={"limit": 1}).json()["next_cursor"]

    assert ids(account, cursor=cursor) == []
