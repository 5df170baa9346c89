"""Every tool of the catalogue, called over MCP as an agent would, its answer checked against the schema it declares.

One long scene: a tool that is not in it fails the last assertion.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import jsonschema
import pytest

from engine.catalogue import TOOLS
from engine.catalogue.schema import object_schema
from tests.service import Account


class Agent:
    """Calls tools and remembers which."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.called: set[str] = set()

    def __call__(self, name: str, **arguments: Any) -> dict[str, Any]:
        self.called.add(name)
        answer = self.rpc(name, arguments)
        result: dict[str, Any] = answer.json()["result"]
        assert result["isError"] is False, (name, result["content"])
        structured: dict[str, Any] = result["structuredContent"]
        jsonschema.Draft202012Validator(object_schema(TOOLS[name].result)).validate(structured)
        assert json.loads(result["content"][0]["text"]) == structured
        return structured

    def rpc(self, name: str, arguments: dict[str, Any]) -> httpx.Response:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
        return self._account.post("/v1/mcp", json=body)


def test_a_day_in_the_life_of_an_agent(account: Account) -> None:
    call = Agent(account)
    cat = call("memory_create", content="The office cat sleeps on the printer", memory_type="note", tags=["office/cat"])["id"]
    many = call("memory_create_batch", memories=[{"content": f"fact {n}", "memory_type": "learning"} for n in range(3)])
    one, two, three = (memory["id"] for memory in many["memories"])
    call("memory_update", id=cat, content="The office cat sleeps on the scanner", change_summary="it moved")
    call("memory_batch", create=[{"content": "from a batch", "dedup_mode": "skip"}], update=[{"id": one, "importance": 0.9}])
    call("memory_set_expiration", id=two, ttl_seconds=3600)
    call("memory_promote_to_permanent", id=two)

    assert call("memory_get", id=cat)["version"] == 2
    assert [memory["id"] for memory in call("memory_list", sort_by="importance", limit=1)["memories"]] == [one]
    assert call("memory_search", query="feline", strategy="hybrid")["results"][0]["memory"]["id"] == cat
    compact = call("memory_search_compact", query="cat")["results"][0]
    assert compact["id"] == cat
    assert call("memory_expand", ids=[cat, 999_999])["missing"] == [999_999]
    assert "scanner" in json.dumps(call("memory_build_context", query="where is the cat", total_budget=200))
    assert "scanner" in json.dumps(call("memory_get_injection_prompt", query="where is the cat", token_budget=200))

    assert [version["version"] for version in call("memory_versions", id=cat)["versions"]] == [2, 1]
    assert "printer" in call("memory_get_version", id=cat, version=1)["content"]
    assert "printer" in call("memory_revert", id=cat, version=1)["content"]

    call("memory_link", from_id=cat, to_id=one, edge_type="references", strength=0.5)
    call("memory_link", from_id=one, to_id=two)
    call("memory_links", id=cat)
    call("memory_related", id=cat, depth=2)
    call("memory_traverse", id=cat, depth=2)
    call("memory_find_path", from_id=cat, to_id=two)
    call("memory_unlink", from_id=one, to_id=two)

    assert call("memory_stats")["memories"] == 5
    assert "office" in json.dumps(call("memory_tags"))
    call("recent_activity", timeframe="24h")
    call("memory_find_duplicates", threshold=0.9)
    call("session_land", session_id="s1", summary="We moved the cat", next_session_hints=["feed it"])
    call("memory_checkpoint", session_id="s1", summary="Half of the office is done")
    call("workspace_move", workspace="attic", ids=[three])
    assert "attic" in json.dumps(call("workspace_list"))
    call("workspace_stats", workspace="attic")
    call("workspace_delete", workspace="attic")

    call("memory_delete", id=one)
    call("memory_restore", id=one)
    call("memory_delete_batch", ids=[one, two])
    call("memory_empty_trash")
    exported = call("memory_export")
    call("memory_import", data=exported["data"])
    found = call("discover_tools", search="history versions")

    assert found["tools"][0]["name"] == "memory_versions"
    assert {tool["name"] for tool in call("discover_tools")["tools"]} == TOOLS.keys()
    assert call.called == TOOLS.keys()


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_names_an_argument_it_does_not_know(account: Account, name: str) -> None:
    result = Agent(account).rpc(name, {"no_such_argument": 1}).json()["result"]

    assert result["isError"] is True
    explained = json.loads(result["content"][0]["text"])
    assert explained["error"] == "invalid"
    assert explained["field"]
