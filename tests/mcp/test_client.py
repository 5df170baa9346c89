"""MCP as agents use it: through the official client, with a key."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import jsonschema
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from engine.catalogue import TOOLS
from engine.catalogue.schema import object_schema
from tests.service import Account, Service

READS = {"memory_search", "memory_get", "memory_list", "memory_build_context", "discover_tools"}
WRITES = {"memory_create", "memory_update", "memory_delete"}


@asynccontextmanager
async def connected(account: Account, mode: Any = "legacy") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {account.key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(f"{account.base_url}/v1/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


async def call(account: Account, name: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool that must succeed; check its answer against the schema it declares."""
    async with connected(account) as client:
        await client.list_tools()
        result = await client.call_tool(name, arguments)
    assert result.is_error is False, result.content
    structured = result.structured_content
    assert structured is not None
    jsonschema.Draft202012Validator(object_schema(TOOLS[name].result)).validate(structured)
    assert [item.type for item in result.content] == ["text"]
    assert json.loads(result.content[0].text) == structured
    return structured


async def failure(account: Account, name: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool that must fail and return what it explains to the model."""
    async with connected(account) as client:
        result = await client.call_tool(name, arguments)
    assert result.is_error is True
    assert result.structured_content is None
    explanation: dict[str, Any] = json.loads(result.content[0].text)
    assert explanation["error"]
    assert explanation["message"]
    return explanation


@pytest.fixture
def reader(service: Service, account: Account) -> Iterator[Account]:
    """A client of the same tenant with a key that may only read."""
    key = account.post("/v1/keys", json={"name": "reader", "scopes": ["read"]}).json()["key"]
    with Account(service.url, key, account.database) as client:
        yield client


async def test_the_client_agrees_on_a_version_and_learns_who_we_are(account: Account) -> None:
    async with connected(account) as client:
        assert client.protocol_version == "2025-11-25"
        assert client.server_info is not None
        assert client.server_info.name == "engram-cloud"
        assert client.server_info.version
        assert client.instructions
        assert client.server_capabilities.tools is not None
        with pytest.warns(match="ping"):
            await client.send_ping()


async def test_a_client_of_the_newest_kind_connects_too(account: Account) -> None:
    """It probes for the stateless protocol first; it must end up with tools either way."""
    async with connected(account, "auto") as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == READS | WRITES
        result = await client.call_tool("memory_create", {"content": "x"})
        assert result.is_error is False


async def test_tools_are_listed_in_order_and_described(account: Account) -> None:
    async with connected(account) as client:
        listed = await client.list_tools()
        again = await client.list_tools()

    assert [tool.name for tool in listed.tools] == [name for name in TOOLS if name in READS | WRITES]
    assert listed.next_cursor is None
    assert listed.tools == again.tools
    for tool in listed.tools:
        assert re.fullmatch(r"[a-z0-9_]{1,40}", tool.name)
        assert tool.title
        assert tool.description
        for schema in (tool.input_schema, tool.output_schema):
            assert schema is not None
            assert schema["type"] == "object"
            jsonschema.Draft202012Validator.check_schema(schema)
        assert tool.input_schema["additionalProperties"] is False
        note = tool.annotations
        assert note is not None
        assert note.title == tool.title
        hints = (note.read_only_hint, note.destructive_hint, note.idempotent_hint, note.open_world_hint)
        assert all(isinstance(hint, bool) for hint in hints), tool.name
        assert note.read_only_hint is (tool.name in READS)
    assert {tool.name for tool in listed.tools if tool.annotations.destructive_hint} == {"memory_update", "memory_delete"}


async def test_tools_answer_as_their_schemas_say(account: Account) -> None:
    created = await call(
        account,
        "memory_create",
        content="The office cat sleeps on the printer.",
        type="decision",
        tags=["cat"],
        metadata={"n": [1, None]},
        importance=0.75,
        workspace="office",
        scope={"type": "user", "id": "ana"},
        tier="daily",
        ttl_seconds=600,
        event_time="2026-03-01T12:00:00+02:00",
    )
    assert account.get(f"/v1/memories/{created['id']}").json()["content"] == created["content"]
    assert created["event_time"] == "2026-03-01T10:00:00.000000Z"
    await call(account, "memory_create", content="Something else")

    found = await call(account, "memory_search", query="feline at work", explain=True)
    assert found["results"][0]["memory"]["id"] == created["id"]
    assert (await call(account, "memory_get", id=created["id"]))["metadata"] == {"n": [1, None]}
    updated = await call(account, "memory_update", id=created["id"], content="changed", event_time=None, ttl_seconds=0)
    assert (updated["content"], updated["event_time"], updated["tier"]) == ("changed", None, "permanent")
    page = await call(account, "memory_list", limit=1)
    rest = await call(account, "memory_list", limit=5, cursor=page["next_cursor"])
    assert [memory["id"] for memory in rest["memories"]] == [created["id"]]
    stats = await call(account, "memory_stats")
    assert (stats["memories"], stats["by_tag"]) == (2, {"cat": 1})
    assert (await call(account, "memory_delete", id=created["id"]))["deleted"] is True
    assert (await failure(account, "memory_get", id=created["id"]))["error"] == "not_found"


async def test_names_that_existing_agents_use_are_understood(account: Account) -> None:
    todo = await call(account, "memory_create", content="buy cables", memory_type="todo")
    assert todo["type"] == "todo"
    assert (await call(account, "memory_update", id=todo["id"], memory_type="issue"))["type"] == "issue"
    assert len((await call(account, "memory_list", memory_type="issue"))["memories"]) == 1
    found = await call(account, "memory_search", query="cables", strategy="keyword", memory_type="issue")
    assert (found["mode"], len(found["results"])) == ("keyword", 1)
    assert (await call(account, "memory_search", query="cables", strategy="semantic", mode="keyword"))["mode"] == "keyword"


@pytest.mark.parametrize(
    ("name", "arguments", "field"),
    [
        ("memory_create", {}, "content"),
        ("memory_create", {"content": ""}, "content"),
        ("memory_create", {"content": " "}, "content"),
        ("memory_create", {"content": 5}, "content"),
        ("memory_create", {"content": "x" * 65_537}, "content"),
        ("memory_create", {"content": "x", "importance": 2}, "importance"),
        ("memory_create", {"content": "x", "importance": "0.5"}, "importance"),
        ("memory_create", {"content": "x", "ttl_seconds": 60}, "ttl_seconds"),
        ("memory_create", {"content": "x", "tags": "cat"}, "tags"),
        ("memory_create", {"content": "x", "memory_type": "nope"}, "type"),
        ("memory_create", {"content": "x", "event_time": "2026-03-01T12:00:00"}, "event_time"),
        ("memory_create", {"content": "x", "scope": {"type": "user"}}, "scope.id"),
        ("memory_create", {"content": "x", "metadata": {"a": {"b": 2**64}}}, "metadata.a.b"),
        ("memory_create", {"content": "x", "tenant_id": "other"}, "tenant_id"),
        ("memory_get", {"id": 0}, "id"),
        ("memory_get", {"id": 2**53}, "id"),
        ("memory_get", {"id": "1"}, "id"),
        ("memory_update", {"content": "x"}, "id"),
        ("memory_list", {"limit": 501}, "limit"),
        ("memory_list", {"cursor": "nonsense"}, "cursor"),
        ("memory_search", {}, "query"),
        ("memory_search", {"query": "x", "limit": 10**8}, "limit"),
        ("memory_search", {"query": "x", "mode": "vibes"}, "mode"),
        ("memory_stats", {"colour": "x"}, "colour"),
    ],
)
async def test_a_bad_argument_is_told_to_the_model_by_name(
    account: Account, name: str, arguments: dict[str, Any], field: str
) -> None:
    explanation = await failure(account, name, **arguments)

    assert explanation["error"] == ("too_large" if len(str(arguments)) > 65_000 else "invalid")
    assert explanation["field"] == field
    assert field.rsplit(".", maxsplit=1)[-1] in explanation["message"]
    assert account.get("/v1/stats").json()["memories"] == 0


async def test_another_tenants_memory_is_not_there(account: Account, other_account: Account) -> None:
    theirs = [other_account.create(f"secret {n}")["id"] for n in range(2)][-1]
    for name, arguments in (("memory_get", {}), ("memory_update", {"content": "x"}), ("memory_delete", {})):
        assert await failure(account, name, id=theirs, **arguments) == await failure(account, name, id=999_999, **arguments)

    assert (await call(account, "memory_search", query="secret"))["results"] == []
    assert (await call(account, "memory_list"))["memories"] == []
    assert other_account.get(f"/v1/memories/{theirs}").json()["content"] == "secret 1"


async def test_a_key_that_may_only_read_sees_no_tools_that_write(account: Account, reader: Account) -> None:
    memory_id = account.create("kept")["id"]
    async with connected(reader) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == READS
    for name, arguments in (
        ("memory_create", {"content": "x"}),
        ("memory_update", {"id": memory_id, "content": "x"}),
        ("memory_delete", {"id": memory_id}),
    ):
        assert (await failure(reader, name, **arguments))["error"] == "forbidden"

    assert (await call(reader, "memory_get", id=memory_id))["content"] == "kept"
    assert (await call(reader, "memory_stats"))["memories"] == 1


async def test_an_unknown_tool_is_an_error_of_the_protocol(account: Account) -> None:
    async with connected(account) as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool("memory_explode", {})

    assert caught.value.error.code == -32602
    assert "memory_explode" in str(caught.value)
