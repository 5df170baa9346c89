"""``memory_export`` and ``memory_import``: what an agent carries from one database into another in one call each."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.answers import count
from tests.api.files import entry, file
from tests.service import Account


def call(account: Account, name: str, **arguments: Any) -> dict[str, Any]:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    result: dict[str, Any] = account.post("/v1/mcp", json=body).json()["result"]
    return result


def done(account: Account, name: str, **arguments: Any) -> dict[str, Any]:
    result = call(account, name, **arguments)
    assert result["isError"] is False, result
    structured: dict[str, Any] = result["structuredContent"]
    return structured


def furnish(account: Account) -> None:
    first = account.create("first", workspace="w", tags=["a"])["id"]
    second = account.create("second")["id"]
    account.patch(f"/v1/memories/{first}", json={"content": "first, changed"})
    account.post(f"/v1/memories/{first}/links", json={"to_id": second, "edge_type": "blocks"}).raise_for_status()


@pytest.mark.parametrize("as_text", [False, True])
def test_what_one_agent_exports_another_imports(account: Account, other_account: Account, as_text: bool) -> None:
    furnish(account)
    exported = done(account, "memory_export")
    data = json.dumps(exported["data"]) if as_text else exported["data"]
    outcome = {"imported": 2, "skipped": 0, "failed": 0, "errors": [], "id_map": {}}

    assert (exported["memory_count"], exported["truncated"]) == (2, False)
    assert done(other_account, "memory_import", data=data) == outcome
    assert done(other_account, "memory_export")["data"]["memories"] == exported["data"]["memories"]
    assert done(other_account, "memory_export")["data"]["engram_cloud"] == exported["data"]["engram_cloud"]
    assert done(other_account, "memory_import", data=data)["skipped"] == 2
    other_account.wait_for_embeddings()


def test_an_export_that_is_too_large_says_where_the_rest_is(account: Account) -> None:
    furnish(account)
    exported = done(account, "memory_export", limit=1)

    assert [memory["id"] for memory in exported["data"]["memories"]] == [1]
    assert (exported["memory_count"], exported["truncated"]) == (1, True)
    assert exported["data"]["memory_count"] == 1
    assert "/v1/export" in exported["more"]
    assert exported["data"]["engram_cloud"]["links"] == [], "its other end is not there"
    assert len(exported["data"]["engram_cloud"]["versions"]) == 1

    for number in range(20):
        account.create(f"{number} " + "\n" * 60_000)  # each takes two bytes in JSON
    large = done(account, "memory_export", limit=1000)
    assert large["truncated"]
    assert 0 < large["memory_count"] < 20


@pytest.mark.parametrize("form", ["jsonl", "markdown"])
def test_other_formats_come_as_text(account: Account, other_account: Account, form: str) -> None:
    furnish(account)
    exported = done(account, "memory_export", format=form, workspace="w")
    headers = {"Content-Type": "application/octet-stream"}

    assert (exported["memory_count"], "data" in exported) == (1, False)
    answer = other_account.post("/v1/import", content=exported["text"].encode(), headers=headers)
    assert answer.json()["imported"] == 1


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ("nonsense", "data"),
        ("[]", "data"),
        ({}, "version"),
        ({"version": "1.0"}, "memories"),
        ({"version": "7.0", "memories": []}, "version"),
        ({"version": "1.0", "memories": {}}, "memories"),
        (file(entry(1), entry(2, memory_type="nope")), "memories[1].memory_type"),
        (file(entry(1), {"id": 2}), "memories[1].content"),
        (file(entry(1), 5), "memories[1]"),  # type: ignore[arg-type]
        (file(entry(1), entry(2, " ")), "memories[1].content"),
        (file(entry(1, metadata={"k": 10**30})), "memories[0].metadata.k"),
        (file(entry(1, created_at="9999-12-31T23:59:59-14:00")), "memories[0].created_at"),
        (file(entry(1)) | {"engram_cloud": {"links": [{"from_id": 1}]}}, "engram_cloud.links[0].to_id"),
        (file(entry(1)) | {"engram_cloud": {"versions": 5}}, "engram_cloud.versions"),
        (file(*[entry(number) for number in range(1, 1002)]), "memories"),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_what_is_no_export_is_told_by_name(account: Account, data: Any, field: str, as_text: bool) -> None:
    given = json.dumps(data) if as_text and not isinstance(data, str) else data
    result = call(account, "memory_import", data=given)

    assert result["isError"] is True, result
    told = json.loads(result["content"][0]["text"])
    named = told["field"].removeprefix("data.").replace("memories.0.", "memories[0].")  # by whoever saw it first
    assert named == field
    assert told["error"] in ("invalid", "too_large")
    assert count(account) == 0
