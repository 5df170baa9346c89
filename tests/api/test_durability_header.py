"""``Engram-Durability: replicated``: what is answered is in the object store, and only then."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from tests.api.answers import problem
from tests.api.backups import HEADER, REPLICATED, in_store
from tests.service import Account, Service

EXPORT = {
    "version": "1.0",
    "memories": [{"id": 7, "content": "imported", "memory_type": "note", "created_at": "2026-01-31T12:00:00Z"}],
}
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "memory_create", "arguments": {"content": "by an agent"}},
}

Write = Callable[[Account], httpx.Response]

WRITES: dict[str, tuple[Write, list[str]]] = {
    "create": (lambda it: it.post("/v1/memories", json={"content": "new"}, headers=REPLICATED), ["first", "new"]),
    "update": (lambda it: it.patch("/v1/memories/1", json={"content": "other"}, headers=REPLICATED), ["other"]),
    "delete": (lambda it: it.delete("/v1/memories/1", headers=REPLICATED), []),
    "batch": (
        lambda it: it.post("/v1/memories/batch", json={"create": [{"content": "one"}], "delete": [1]}, headers=REPLICATED),
        ["one"],
    ),
    "import": (lambda it: it.post("/v1/import", content=json.dumps(EXPORT), headers=REPLICATED), ["first", "imported"]),
    "mcp": (lambda it: it.post("/v1/mcp", json=CALL, headers=REPLICATED), ["first", "by an agent"]),
}


@pytest.mark.parametrize("name", WRITES)
def test_whatever_was_written_is_in_the_store_when_the_answer_comes(service: Service, account: Account, name: str) -> None:
    write, expected = WRITES[name]
    account.create("first")
    answer = write(account)

    assert answer.status_code in (200, 201), answer.text
    assert answer.headers[HEADER] == "replicated"
    assert in_store(service, account) == expected


def test_without_the_header_nothing_is_said_of_it(account: Account) -> None:
    answer = account.post("/v1/memories", json={"content": "as ever"})

    assert answer.status_code == 201
    assert HEADER not in answer.headers


def test_what_is_enough_may_be_said_too(account: Account) -> None:
    answer = account.post("/v1/memories", json={"content": "as ever"}, headers={HEADER: "local"})

    assert (answer.status_code, answer.headers[HEADER]) == (201, "local")


def test_reading_promises_nothing(account: Account) -> None:
    account.create("first")
    answers = [
        account.get("/v1/memories", headers=REPLICATED),
        account.post("/v1/search", json={"query": "first"}, headers=REPLICATED),
        account.post("/v1/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers=REPLICATED),
    ]

    assert [(answer.status_code, HEADER in answer.headers) for answer in answers] == [(200, False)] * 3


def test_a_write_that_is_refused_promises_nothing(account: Account) -> None:
    answer = account.post("/v1/memories", json={"content": ""}, headers=REPLICATED)

    problem(answer, 400, "invalid", "content")
    assert HEADER not in answer.headers


@pytest.mark.parametrize("value", ["", "Replicated", "remote", "replicated, local", "1"])
def test_another_value_is_refused_by_name_before_anything_is_written(account: Account, value: str) -> None:
    problem(account.post("/v1/memories", json={"content": "x"}, headers={HEADER: value}), 400, "invalid", HEADER)

    assert account.get("/v1/memories").json()["memories"] == []
