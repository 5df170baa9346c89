"""Files that can't be taken: the entry at fault is named, and nothing of the file is kept."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.answers import JSON, count, problem
from tests.api.files import bring, entry, file
from tests.service import Account

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "content missing": ({"content": ...}, "content"),
    "content empty": ({"content": ""}, "content"),
    "content blank": ({"content": " \n"}, "content"),
    "content a number": ({"content": 5}, "content"),
    "type unknown": ({"memory_type": "nope"}, "memory_type"),
    "type missing": ({"memory_type": ...}, "memory_type"),
    "tier unknown": ({"tier": "weekly"}, "tier"),
    "scope unknown": ({"scope_type": "tenant", "scope_id": "x"}, "scope_type"),
    "scope without id": ({"scope_type": "user", "scope_id": None}, "scope.id"),
    "tag a number": ({"tags": ["a", 5]}, "tags[1]"),
    "importance too high": ({"importance": 2}, "importance"),
    "workspace bad": ({"workspace": "../x"}, "workspace"),
    "created_at missing": ({"created_at": ...}, "created_at"),
    "created_at no time": ({"created_at": "yesterday"}, "created_at"),
    "created_at before all time": ({"created_at": "0001-01-01T00:00:00+14:00"}, "created_at"),
    "updated_at after all time": ({"updated_at": "9999-12-31T23:59:59-14:00"}, "updated_at"),
    "tags null": ({"tags": None}, "tags"),
    "id zero": ({"id": 0}, "id"),
    "id too large": ({"id": 2**63}, "id"),
    "id a text": ({"id": "37"}, "id"),
    "metadata an array": ({"metadata": []}, "metadata"),
    "metadata too large": ({"metadata": {"a": "x" * 17_000}}, "metadata"),
    "metadata a huge number": ({"metadata": {"a": 10**30}}, "metadata.a"),
    "extras bad": ({"engram_cloud": {"version": 0}}, "engram_cloud.version"),
    "no object": ({}, ""),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_one_bad_entry_in_fifty_is_named_and_nothing_is_taken(account: Account, wrong: str) -> None:
    account.create("here before")
    before = account.get("/v1/memories").json()
    changes, field = WRONG[wrong]
    entries: list[Any] = [entry(number) for number in range(100, 150)]
    entries[37] = {name: value for name, value in (entries[37] | changes).items() if value is not ...} if field else 5
    body = problem(account.post("/v1/import", json=file(*entries)), 400, "invalid")

    assert body["field"].startswith(f"memories[37].{field}"), body
    assert (body["entry"], body["imported"], body["failed"]) == (37, 0, 1)
    assert account.get("/v1/memories").json() == before
    assert account.search("entry", mode="keyword") == []

    assert bring(account, file(*entries[:37], *entries[38:]))["imported"] == 49


def test_content_over_64_kib_is_named(account: Account) -> None:
    body = problem(
        account.post("/v1/import", json=file(entry(1), entry(2, "ä" * 32_769))), 413, "too_large", "memories[1].content"
    )

    assert body["entry"] == 1
    assert count(account) == 0


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"", "body"),
        (b"not json", "body"),
        (b"[]", "body"),
        (b"null", "body"),
        (b'{"version":"1.0"}', "memories"),
        (b'{"memories":[]}', "version"),
        (b'{"version":"2.0","memories":[]}', "version"),
        (b'{"version":"","memories":[]}', "version"),
        (b'{"version":1.0,"memories":[]}', "version"),
        (b'{"version":"1.0","memories":{}}', "memories"),
        (b'{"version":"1.0","memories":null}', "memories"),
        (b'{"version":"1.0","memories":[', "body"),
    ],
)
def test_what_is_no_export_is_refused(account: Account, content: bytes, field: str) -> None:
    problem(account.post("/v1/import", content=content, headers=JSON), 400, "invalid", field)
    assert count(account) == 0
