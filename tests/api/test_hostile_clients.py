"""What a client may do by malice or by mistake: nothing of it is half done, shows what is gone, or reaches anybody else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.catalogue import TOOLS
from engine.catalogue.schema import object_schema
from tests.api.answers import problem
from tests.service import Account, Service, wait_until

LARGE = "x" * 64_000
"""One word, which costs the embedder nothing: it is busy for all tests."""
FRAME_BYTES = 16 * 1024 * 1024
TEXTS = [
    "", " ", "\0", "a\0b", "\u202eabc", "e\u0301", "字" * 300, "x" * 5000, "'; DROP TABLE memories; --", '"', "\\", "$.a", "*",
    "a*", "NEAR(a b)", "AND", "content:x", "-x", "(", "{", "^a", '"open', "%", "../..", "//", "a/", "NaN", "1e999", "24h", "2w",
    "2026-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00", "\uffff", "\U0010ffff",
]  # fmt: skip
NUMBERS = [0, 1, 2, -1, 0.5, 1e308, 5e-324, 2**31, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, -(2**63) - 1]
ODD_VALUES = st.recursive(
    st.none() | st.booleans() | st.sampled_from(TEXTS) | st.sampled_from(NUMBERS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "type", "id", "AND", *TEXTS]), inner, max_size=2)
    ),
    max_leaves=6,
)


T = TypeVar("T")


def together(count: int, act: Callable[[int], T]) -> list[T]:
    """Return what ``act`` returns for each number below ``count``, all at the same time."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(act, range(count)))


def call(account: Account, tool: str, arguments: Any) -> dict[str, Any]:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    answer = account.post("/v1/mcp", json=body)
    assert answer.status_code == 200, answer.text[:300]
    result: dict[str, Any] = answer.json()
    return result


def store_large(account: Account, count: int) -> list[int]:
    ids = []
    for first in range(0, count, 100):
        batch = [{"content": f"{LARGE}{number}"} for number in range(first, min(first + 100, count))]
        answer = account.post("/v1/memories/batch", json={"create": batch})
        assert answer.status_code == 200, answer.text[:300]
        ids += [memory["id"] for memory in answer.json()["created"]]
    return ids


@pytest.fixture(scope="module")
def crowded(service: Service) -> Any:
    """A customer with more text than one answer holds, and the ids of it."""
    with service.sign_up() as account:
        yield account, store_large(account, 270)


def test_a_change_whose_answer_is_too_large_is_not_carried_out(crowded: tuple[Account, list[int]]) -> None:
    account, ids = crowded
    changes = {"update": [{"id": memory_id, "importance": 0.9} for memory_id in ids]}

    for headers in ({}, {"Idempotency-Key": "large"}):
        refused = problem(account.post("/v1/memories/batch", json=changes, headers=headers), 413, "too_large")
        assert "nothing was changed" in refused["detail"]

    assert account.get(f"/v1/memories/{ids[0]}").json()["version"] == 1
    changes["update"] = changes["update"][:100]
    assert account.post("/v1/memories/batch", json=changes, headers={"Idempotency-Key": "large"}).status_code == 200


def test_pages_of_large_memories_end_early_and_go_on(crowded: tuple[Account, list[int]]) -> None:
    account, ids = crowded
    seen: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        answer = account.get("/v1/memories", params={"limit": 500, "sort": "id", **cursor})
        assert answer.status_code == 200, answer.text[:300]
        assert len(answer.content) < FRAME_BYTES
        page = answer.json()
        seen += [memory["id"] for memory in page["memories"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}

    assert seen == ids


def test_a_repeated_request_does_not_bring_back_what_has_expired(account: Account) -> None:
    created = account.post(
        "/v1/memories",
        json={"content": "short lived", "tier": "daily", "ttl_seconds": 1},
        headers={"Idempotency-Key": "once"},
    )
    memory_id = created.json()["id"]
    wait_until(lambda: account.get(f"/v1/memories/{memory_id}").status_code == 404)

    for _ in range(2):
        again = account.post(
            "/v1/memories",
            json={"content": "short lived", "tier": "daily", "ttl_seconds": 1},
            headers={"Idempotency-Key": "once"},
        )
        problem(again, 404, "not_found")
    assert account.get("/v1/stats").json()["memories"] == 0


def test_a_repeated_request_does_not_bring_back_what_it_has_purged_itself(account: Account) -> None:
    memory_id = account.create("to be purged")["id"]
    changes = {"update": [{"id": memory_id, "tags": ["seen"]}], "delete": [memory_id], "purge": True}

    first = account.post("/v1/memories/batch", json=changes, headers={"Idempotency-Key": "gone"})
    assert first.json()["deleted"] == [memory_id]

    problem(account.post("/v1/memories/batch", json=changes, headers={"Idempotency-Key": "gone"}), 404, "not_found")


def test_a_batch_that_purges_what_is_not_there_purges_nothing(account: Account) -> None:
    memory_id = account.create("stays")["id"]

    refused = account.post("/v1/memories/batch", json={"delete": [memory_id, 999], "purge": True})

    problem(refused, 404, "not_found", "delete[1]")
    assert account.get(f"/v1/memories/{memory_id}").status_code == 200


@pytest.mark.parametrize("arguments", [[], 0, "", False, "id"])
def test_arguments_of_a_tool_that_are_no_object_are_refused(account: Account, arguments: Any) -> None:
    assert call(account, "memory_stats", arguments)["error"]["code"] == -32602


def test_of_many_changes_for_one_version_one_is_carried_out(account: Account) -> None:
    memory_id = account.create("first")["id"]

    answers = together(
        16, lambda n: account.patch(f"/v1/memories/{memory_id}", json={"content": f"by {n}"}, headers={"If-Match": '"1"'})
    )

    assert Counter(answer.status_code for answer in answers) == {200: 1, 412: 15}
    assert account.get(f"/v1/memories/{memory_id}").json()["version"] == 2


def test_of_many_requests_with_one_key_one_is_carried_out(account: Account) -> None:
    headers = {"Idempotency-Key": "many"}
    same = together(16, lambda _: account.post("/v1/memories", json={"content": "same"}, headers=headers))
    others = together(16, lambda n: account.post("/v1/memories", json={"content": f"other {n}"}, headers=headers))

    assert {(answer.status_code, answer.json()["id"]) for answer in same} == {(201, 1)}
    assert {answer.status_code for answer in others} == {422}
    assert account.get("/v1/stats").json()["memories"] == 1


def test_what_is_done_to_a_memory_at_the_same_time_is_done_or_refused(account: Account) -> None:
    """Delete, restore, change, revert, move, expire, export and import, all at once on the same few memories."""
    ids = [account.create(f"memory {number}", tags=["t"])["id"] for number in range(4)]
    exported = account.get("/v1/export").content

    def act(number: int) -> int:
        one, other = ids[number % 4], ids[number // 4 % 4]
        actions = [
            lambda: account.patch(f"/v1/memories/{one}", json={"content": f"changed by {number}"}),
            lambda: account.delete(f"/v1/memories/{one}"),
            lambda: account.post(f"/v1/memories/{one}/restore"),
            lambda: account.post(f"/v1/memories/{one}/revert", json={"version": 1}),
            lambda: account.post("/v1/memories/batch", json={"update": [{"id": one, "importance": 0.1}], "delete": [other]}),
            lambda: account.post(f"/v1/memories/{one}/links", json={"to_id": other}),
            lambda: account.get(f"/v1/memories/{one}/related?depth=3"),
            lambda: account.post("/v1/workspaces/attic/move", json={"ids": [one, other]}),
            lambda: account.put(f"/v1/memories/{one}/expiration", json={"ttl_seconds": 1}),
            lambda: account.post("/v1/import", content=exported, headers={"Content-Type": "application/json"}),
            lambda: account.delete(f"/v1/memories/{one}?purge=true"),
        ]
        return actions[number % len(actions)]().status_code

    codes = together(8, lambda lane: [act(number) for number in range(lane, 176, 8)])

    assert {code for lane in codes for code in lane} <= {200, 201, 400, 404, 429}
    stats = account.get("/v1/stats").json()
    assert stats["memories"] == len(account.get("/v1/memories?limit=500").json()["memories"])
    assert stats["trash"] == len(account.get("/v1/memories?in_trash=true&limit=500").json()["memories"])


@pytest.fixture(scope="module")
def victim(service: Service) -> Any:
    with service.sign_up() as account:
        for number in range(5):
            account.create(f"memory {number}", tags=["a/b"], metadata={"k": "v", "session": "s"})
        yield account


@pytest.mark.parametrize("name", TOOLS)
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_argument_of_a_tool_makes_an_error_of_ours(victim: Account, name: str, data: st.DataObject) -> None:
    """Each answer is what the tool's schema says, or an error that names the argument."""
    schema = object_schema(TOOLS[name].arguments)
    arguments: dict[str, Any] = {"id": 1, "ids": [1], "from_id": 1, "to_id": 2, "content": "x", "query": "memory", "version": 1}
    arguments |= {"workspace": "default", "session_id": "s", "summary": "s", "memories": [{"content": "x"}], "data": {}}
    arguments = {field: value for field, value in arguments.items() if field in schema["properties"]}
    if schema["properties"]:
        arguments[data.draw(st.sampled_from(sorted(schema["properties"])))] = data.draw(ODD_VALUES)

    result = call(victim, name, arguments)["result"]

    if result["isError"]:
        explained = json.loads(result["content"][0]["text"])
        assert explained["error"] in ("invalid", "not_found", "too_large", "duplicate", "version_mismatch"), explained
        assert explained["error"] != "invalid" or explained["field"], explained
    else:
        jsonschema.Draft202012Validator(object_schema(TOOLS[name].result)).validate(result["structuredContent"])
