"""Contexts over REST and MCP, with real vectors."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.answers import problem
from tests.service import Account


def call(account: Account, tool: str, **arguments: Any) -> Any:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    answer = account.post("/v1/mcp", json=body, headers={"Accept": "application/json, text/event-stream"})
    assert answer.status_code == 200, answer.text
    result = answer.json()["result"]
    assert not result["isError"], result
    return result["structuredContent"]


def test_a_context_finds_by_meaning_and_follows_links(account: Account) -> None:
    cat = account.create("The office cat sleeps on the printer.")["id"]
    food = account.create("Tins are in the drawer under the sink.")["id"]
    account.post(f"/v1/memories/{cat}/links", json={"to_id": food, "edge_type": "references"})
    answer = account.post("/v1/context", json={"query": "feline at work", "total_budget": 300, "min_score": 0.3})

    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert [(piece["id"], piece["reason"]) for piece in body["pieces"]] == [(cat, "match"), (food, "linked")]
    assert body["pieces"][1]["linked_to"] == cat
    assert body["tokens"] <= body["budget"] == 300
    assert body["mode"] == "hybrid"


def test_agents_get_the_same_as_one_text(account: Account) -> None:
    cat = account.create("The office cat sleeps on the printer.")["id"]
    built = call(account, "memory_build_context", query="feline at work", token_budget=500)
    prompt = call(account, "memory_get_injection_prompt", query="feline at work", total_budget=500)

    assert [piece["id"] for piece in built["pieces"]] == prompt["memories"] == [cat]
    assert "> The office cat sleeps on the printer." in prompt["prompt"].splitlines()
    assert account.post("/v1/context/prompt", json={"query": "feline at work", "token_budget": 500}).json() == prompt


def test_a_session_is_found_again_by_what_it_left(account: Account) -> None:
    landed = call(account, "session_land", session_id="s-1", summary="The build moved to CI.", next_session_hints=["Fix E4021"])
    call(account, "memory_checkpoint", session_id="s-1", summary="Half of the tests pass.", context={"branch": "main"})

    assert (landed["type"], landed["scope"]) == ("summary", {"type": "session", "id": "s-1"})
    assert account.search("E4021", mode="keyword")[0]["memory"]["id"] == landed["id"]
    assert account.search("continuous integration pipeline", mode="semantic")[0]["memory"]["id"] == landed["id"]


def test_short_hits_expand_to_memories(account: Account) -> None:
    cat = account.create("The office cat sleeps on the printer. " * 30, tags=["pets"])["id"]
    (hit,) = call(account, "memory_search_compact", query="feline at work")["results"]
    expanded = call(account, "memory_expand", ids=[hit["id"], 999])

    assert (hit["id"], hit["tags"]) == (cat, ["pets"])
    assert len(hit["excerpt"]) <= 160
    assert "memory" not in hit
    assert [memory["id"] for memory in expanded["memories"]] == [cat]
    assert expanded["missing"] == [999]


@pytest.mark.parametrize(
    ("field", "value"),
    [("query", ""), ("total_budget", 1), ("total_budget", 10**9), ("strategy", "best"), ("timeframe", "1y"), ("tags", "a")],
)
def test_a_bad_argument_is_named(account: Account, field: str, value: object) -> None:
    problem(account.post("/v1/context", json={"query": "x", field: value}), 400, "invalid", field)
