"""Links over REST and MCP: set, listed, followed, removed; every bad value is a 4xx that names it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_args

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.catalogue.links import EdgeType
from tests.api.answers import JSON, problem
from tests.service import Account, Service

LINK_FIELDS = {
    "edge_type": "depends_on",
    "strength": 0.5,
    "confidence": 0.75,
    "pinned": True,
    "source": "llm",
    "source_context": "Both name the same printer. 😺",
    "valid_from": "2026-03-01T12:00:00.250000Z",
    "valid_to": "2126-03-01T12:00:00.000000Z",
}


def memories(account: Account, count: int) -> list[int]:
    return [account.create(f"memory {number}")["id"] for number in range(count)]


def link(account: Account, from_id: int, to_id: int, **fields: Any) -> dict[str, Any]:
    answer = account.post(f"/v1/memories/{from_id}/links", json={"to_id": to_id, **fields})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def listed(account: Account, memory_id: int, **parameters: Any) -> list[dict[str, Any]]:
    answer = account.get(f"/v1/memories/{memory_id}/links", params=parameters)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["total"] >= len(body["links"])
    links: list[dict[str, Any]] = body["links"]
    return links


def call(account: Account, tool: str, **arguments: Any) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    answer = account.post("/v1/mcp", json=message).json()
    assert answer["result"]["isError"] is False, answer
    result: dict[str, Any] = answer["result"]["structuredContent"]
    return result


def test_every_field_is_kept_and_read_back(account: Account) -> None:
    first, second = memories(account, 2)
    created = link(account, first, second, **LINK_FIELDS)

    assert {name: created[name] for name in LINK_FIELDS} == LINK_FIELDS
    assert (created["from_id"], created["to_id"], created["created"]) == (first, second, True)
    assert listed(account, first) == listed(account, second)
    assert listed(account, first) == [{name: value for name, value in created.items() if name != "created"}]


@pytest.mark.parametrize("edge_type", get_args(EdgeType))
def test_every_type_is_known(account: Account, edge_type: str) -> None:
    first, second = memories(account, 2)

    assert link(account, first, second, edge_type=edge_type)["edge_type"] == edge_type
    assert len(listed(account, second, edge_type=edge_type, direction="incoming", limit=1)) == 1
    assert listed(account, second, edge_type=edge_type, direction="outgoing") == []


def test_linking_again_answers_200_and_changes_what_is_given(account: Account) -> None:
    first, second = memories(account, 2)
    link(account, first, second, strength=0.5)
    answer = account.post(f"/v1/memories/{first}/links", json={"to_id": second, "confidence": 0.25})

    assert answer.status_code == 200
    assert answer.json()["created"] is False
    assert (answer.json()["strength"], answer.json()["confidence"]) == (0.5, 0.25)
    assert len(listed(account, first)) == 1


def test_related_memories_come_whole_with_how_they_were_reached(account: Account) -> None:
    first, second, third = memories(account, 3)
    link(account, first, second, edge_type="extends", strength=0.5)
    link(account, third, second)
    near = account.get(f"/v1/memories/{first}/related").json()
    far = account.get(f"/v1/memories/{first}/related", params={"depth": 2}).json()
    outgoing = account.get(f"/v1/memories/{first}/related", params={"depth": 2, "direction": "outgoing"}).json()
    limited = account.get(f"/v1/memories/{first}/related", params={"depth": 2, "limit": 1}).json()

    assert [entry["memory"]["content"] for entry in near["related"]] == ["memory 1"]
    edge = {"from_id": first, "to_id": second, "edge_type": "extends", "strength": 0.5}
    assert {name: near["related"][0]["edge"][name] for name in edge} == edge
    assert [(entry["memory"]["id"], entry["depth"], entry["via"]) for entry in far["related"]] == [
        (second, 1, []),
        (third, 2, [second]),
    ]
    assert outgoing["related"] == near["related"]
    assert (limited["related"], limited["truncated"]) == (near["related"], True)
    assert (far["truncated"], account.get(f"/v1/memories/{first}/related?edge_type=blocks").json()["related"]) == (False, [])


def test_a_path_is_found_or_said_not_to_be_there(account: Account) -> None:
    first, second, third, alone = memories(account, 4)
    link(account, first, second, edge_type="blocks")
    link(account, third, second, edge_type="extends")

    def path(to: int, **parameters: Any) -> dict[str, Any]:
        answer = account.get(f"/v1/memories/{first}/path", params={"to": to, **parameters})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    found = path(third)
    assert (found["found"], found["path"]) == (True, [first, second, third])
    assert [(edge["from_id"], edge["to_id"]) for edge in found["edges"]] == [(first, second), (third, second)]
    assert [(node["excerpt"], node["depth"]) for node in found["nodes"]] == [("memory 0", 0), ("memory 1", 1), ("memory 2", 2)]
    assert path(first)["path"] == [first]
    assert path(third, edge_type=["blocks", "extends"])["found"] is True
    nothing = {"found": False, "path": [], "nodes": [], "edges": [], "truncated": False}
    assert path(alone) == nothing
    assert path(third, max_depth=1) == nothing
    assert path(third, edge_type="blocks") == nothing
    assert path(third, direction="outgoing") == nothing


@pytest.mark.parametrize("in_body", [False, True])
def test_a_link_is_removed_by_address_or_by_body(account: Account, in_body: bool) -> None:
    first, second = memories(account, 2)
    link(account, first, second)
    link(account, first, second, edge_type="blocks")
    wanted = {"to_id": second, "edge_type": "blocks"}
    given: dict[str, Any] = {"json": wanted} if in_body else {"params": wanted}
    answer = account.request("DELETE", f"/v1/memories/{first}/links", **given)

    assert answer.status_code == 200, answer.text
    assert answer.json() == {"from_id": first, "to_id": second, "edge_type": "blocks", "unlinked": True}
    assert [left["edge_type"] for left in listed(account, first)] == ["related_to"]
    again = account.request("DELETE", f"/v1/memories/{first}/links", **given)
    problem(again, 404, "not_found", "edge_type")


def test_a_link_hides_with_a_deleted_end(account: Account) -> None:
    first, second = memories(account, 2)
    link(account, first, second)
    assert account.delete(f"/v1/memories/{second}").status_code == 200

    assert listed(account, first) == []
    assert account.post(f"/v1/memories/{second}/restore").status_code == 200
    assert [left["to_id"] for left in listed(account, first)] == [second]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "to_id"),
        ({"to_id": 0}, "to_id"),
        ({"to_id": "1"}, "to_id"),
        ({"to_id": 2**53}, "to_id"),
        ({"to_id": 2**70}, "to_id"),
        ({"to_id": True}, "to_id"),
        ({"to_id": 1, "edge_type": "likes"}, "edge_type"),
        ({"to_id": 1, "strength": 1.01}, "strength"),
        ({"to_id": 1, "strength": None}, "strength"),
        ({"to_id": 1, "confidence": -0.1}, "confidence"),
        ({"to_id": 1, "confidence": "high"}, "confidence"),
        ({"to_id": 1, "pinned": 1}, "pinned"),
        ({"to_id": 1, "source": "me"}, "source"),
        ({"to_id": 1, "source_context": ""}, "source_context"),
        ({"to_id": 1, "source_context": "x" * 1025}, "source_context"),
        ({"to_id": 1, "valid_from": "2026-03-01"}, "valid_from"),
        ({"to_id": 1, "valid_from": "2026-03-01T12:00:00"}, "valid_from"),
        ({"to_id": 1, "valid_to": "0001-01-01T00:00:00+14:00"}, "valid_to"),
        ({"to_id": 1, "from_id": 1}, "from_id"),
        ({"to_id": 1, "weight": 1}, "weight"),
    ],
)
def test_a_bad_value_is_named(account: Account, fields: dict[str, Any], field: str) -> None:
    (first,) = memories(account, 1)
    answer = account.post(f"/v1/memories/{first}/links", json=fields)

    problem(answer, 400, "invalid", field)


def test_what_cannot_be_linked_is_named(account: Account) -> None:
    first, second = memories(account, 2)
    address = f"/v1/memories/{first}/links"
    backwards = {"to_id": second, "valid_from": "2026-03-02T00:00:00Z", "valid_to": "2026-03-01T00:00:00Z"}

    problem(account.post(address, json={"to_id": first}), 400, "invalid", "to_id")
    problem(account.post(address, json=backwards), 400, "invalid", "valid_to")
    problem(account.post(address, json={"to_id": 999_999}), 404, "not_found", "to_id")
    problem(account.post("/v1/memories/999999/links", json={"to_id": first}), 404, "not_found", "from_id")
    problem(account.post("/v1/memories/abc/links", json={"to_id": first}), 404, "not_found")
    problem(account.get(f"/v1/memories/{first}/path?to=999999"), 404, "not_found", "to_id")
    problem(account.get("/v1/memories/999999/related"), 404, "not_found", "id")
    assert listed(account, first) == []


@pytest.mark.parametrize(
    ("method", "rest", "field"),
    [
        ("GET", "links?limit=0", "limit"),
        ("GET", "links?limit=1001", "limit"),
        ("GET", "links?direction=up", "direction"),
        ("GET", "links?edge_type=likes", "edge_type"),
        ("GET", "links?edge_type=blocks&edge_type=extends", "edge_type"),
        ("GET", "links?tag=x", "tag"),
        ("GET", "related?depth=0", "depth"),
        ("GET", "related?depth=9", "depth"),
        ("GET", "related?depth=x", "depth"),
        ("GET", "related?limit=101", "limit"),
        ("GET", "related?direction=sideways", "direction"),
        ("GET", "path", "to"),
        ("GET", "path?to=x", "to"),
        ("GET", "path?to=-1", "to"),
        ("GET", "path?to=1&max_depth=9", "max_depth"),
        ("GET", "path?to=1&edge_type=blocks&edge_type=likes", "edge_type[1]"),
        ("GET", "path?to=1&to=2", "to"),
        ("DELETE", "links", "to_id"),
        ("DELETE", "links?to_id=x", "to_id"),
        ("DELETE", "links?to_id=1&edge_type=likes", "edge_type"),
        ("DELETE", "links?to=1", "to"),
    ],
)
def test_a_bad_parameter_is_named(account: Account, method: str, rest: str, field: str) -> None:
    (first,) = memories(account, 1)

    problem(account.request(method, f"/v1/memories/{first}/{rest}"), 400, "invalid", field)


def test_a_body_beside_parameters_is_refused(account: Account) -> None:
    first, second = memories(account, 2)
    link(account, first, second)
    address = f"/v1/memories/{first}/links"
    text = {"Content-Type": "text/plain"}

    problem(account.request("DELETE", f"{address}?to_id={second}", json={"to_id": second}), 400, "invalid", "body")
    problem(account.request("DELETE", address, content=b'{"to_id": 1', headers=JSON), 400, "invalid", "body")
    problem(account.request("DELETE", address, content=b'{"to_id": 1}', headers=text), 415, "unsupported_media_type")
    assert len(listed(account, first)) == 1


def test_a_key_that_may_only_read_follows_links_and_sets_none(service: Service, account: Account) -> None:
    first, second = memories(account, 2)
    link(account, first, second)
    key = account.post("/v1/keys", json={"name": "reader", "scopes": ["read"]}).json()["key"]
    with Account(service.url, key, account.database) as reader:
        assert len(listed(reader, first)) == 1
        assert reader.get(f"/v1/memories/{first}/path?to={second}").json()["found"] is True
        problem(reader.post(f"/v1/memories/{second}/links", json={"to_id": first}), 403, "forbidden")
        problem(reader.delete(f"/v1/memories/{first}/links?to_id={second}"), 403, "forbidden")


def test_links_of_another_customer_are_not_there(account: Account, other_account: Account) -> None:
    first, second = memories(account, 2)
    link(account, first, second)
    other_account.create("mine")

    answers: list[httpx.Response] = [
        other_account.get(f"/v1/memories/{first + 1000}/links"),
        other_account.get(f"/v1/memories/{second}/links"),
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].json() == answers[1].json()


def test_agents_link_and_follow_by_the_names_they_know(account: Account) -> None:
    first, second, third = memories(account, 3)
    assert call(account, "memory_link", from_id=first, to_id=second, type="blocks")["edge_type"] == "blocks"
    call(account, "memory_link", from_id=second, to_id=third, edge_type="follows_up", strength=0.5)

    assert call(account, "memory_links", id=first)["total"] == 1
    related = call(account, "memory_related", id=first, depth=2)
    assert [entry["memory"]["id"] for entry in related["related"]] == [second, third]
    around = call(account, "memory_traverse", id=first, direction="outgoing", edge_types=["blocks"], min_confidence=0.5)
    assert [node["id"] for node in around["nodes"]] == [first, second]
    assert call(account, "memory_find_path", from_id=first, to_id=third)["path"] == [first, second, third]
    assert call(account, "memory_unlink", from_id=first, to_id=second, edge_type="blocks")["unlinked"] is True
    assert call(account, "memory_find_path", from_id=first, to_id=third)["found"] is False


scalars = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
fields = st.dictionaries(st.sampled_from([*LINK_FIELDS, "to_id", "x"]), values, max_size=4)
moments = st.builds("{}{}".format, st.datetimes().map(datetime.isoformat), st.sampled_from(["Z", "+14:00", "-12:00", ""]))
nearly_right = st.fixed_dictionaries(
    {"to_id": st.integers(0, 3)},
    optional={"strength": st.floats(-0.5, 1.5), "source_context": st.text() | st.none(), "valid_to": moments},
)


@pytest.fixture
def linked(account: Account) -> Account:
    """A customer with two linked memories, 1 and 2."""
    link(account, *memories(account, 2))
    return account


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields | nearly_right, st.sampled_from(["POST", "DELETE"]))
@example({"to_id": 2, "source_context": "\0"}, "POST")
def test_no_body_makes_a_server_error(linked: Account, body: dict[str, Any], method: str) -> None:
    answer = linked.request(method, "/v1/memories/1/links", json=body)

    assert answer.status_code in (200, 201, 400, 404), answer.text
    if answer.is_error:
        assert answer.json()["code"] in ("invalid", "not_found")
        assert answer.json()["field"]


def test_half_a_surrogate_is_refused(account: Account) -> None:
    first, second = memories(account, 2)
    body = f'{{"to_id": {second}, "source_context": "\\ud800"}}'

    problem(account.post(f"/v1/memories/{first}/links", content=body.encode(), headers=JSON), 400, "invalid")
