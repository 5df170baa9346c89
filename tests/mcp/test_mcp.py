"""MCP's transport, message by message, as the specification words it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api.answers import JSON, count, problem
from tests.service import Account, Service

VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26")


def send(account: Account, message: Any, **headers: str) -> httpx.Response:
    return account.post("/v1/mcp", json=message, headers=headers)


def request(method: str, params: Any = None, *, message_id: Any = 1) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": message_id, "method": method}
    return message if params is None else message | {"params": params}


def error(answer: httpx.Response, status: int, code: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].startswith("application/json")
    body: dict[str, Any] = answer.json()
    assert body["jsonrpc"] == "2.0"
    assert body["error"]["code"] == code, body
    assert body["error"]["message"]
    assert "result" not in body
    return body


@pytest.mark.parametrize("wanted", VERSIONS)
def test_a_known_version_is_agreed_on(account: Account, wanted: str) -> None:
    params = {"protocolVersion": wanted, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    result = send(account, request("initialize", params)).json()["result"]

    assert result["protocolVersion"] == wanted
    assert "tools" in result["capabilities"]


@pytest.mark.parametrize("wanted", ["2024-11-05", "1.0", "", None, 5, ["2025-11-25"]])
def test_for_an_unknown_version_ours_is_offered(account: Account, wanted: Any) -> None:
    params = {"protocolVersion": wanted, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    answer = send(account, request("initialize", params), **{"MCP-Protocol-Version": "1999-01-01"})

    assert answer.json()["result"]["protocolVersion"] == VERSIONS[0]


@pytest.mark.parametrize("message_id", [1, 0, -5, "text", "", 2**53])
def test_the_id_is_echoed(account: Account, message_id: Any) -> None:
    assert send(account, request("ping", message_id=message_id)).json() == {"jsonrpc": "2.0", "id": message_id, "result": {}}
    assert error(send(account, request("nope", message_id=message_id)), 200, -32601)["id"] == message_id


def test_a_notification_is_accepted_without_an_answer(account: Account) -> None:
    for method in ("notifications/initialized", "notifications/cancelled", "notifications/unknown", "tools/list"):
        answer = send(account, {"jsonrpc": "2.0", "method": method})
        assert (answer.status_code, answer.content) == (202, b"")


def test_a_call_without_an_id_does_nothing(account: Account) -> None:
    params = {"name": "memory_create", "arguments": {"content": "x"}}

    assert send(account, {"jsonrpc": "2.0", "method": "tools/call", "params": params}).status_code == 202
    assert count(account) == 0


def test_a_response_of_the_client_is_accepted(account: Account) -> None:
    assert send(account, {"jsonrpc": "2.0", "id": 1, "result": {}}).status_code == 202


@pytest.mark.parametrize("version", VERSIONS)
def test_a_known_version_header_is_fine(account: Account, version: str) -> None:
    assert send(account, request("ping"), **{"MCP-Protocol-Version": version}).status_code == 200


@pytest.mark.parametrize("version", ["2024-11-05", "2099-01-01", "nonsense", "x" * 500, ""])
def test_an_unknown_version_header_is_refused(account: Account, version: str) -> None:
    body = error(send(account, request("ping"), **{"MCP-Protocol-Version": version}), 400, -32022)

    assert body["id"] == 1
    assert body["error"]["data"]["supported"][:1] == [VERSIONS[0]]
    assert len(body["error"]["data"]["requested"]) <= 64


def test_a_batch_is_refused_whole(account: Account) -> None:
    create = request("tools/call", {"name": "memory_create", "arguments": {"content": "x"}})
    for batch in ([], [request("ping")], [create, create]):
        error(send(account, batch), 400, -32600)

    assert count(account) == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"} x', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', -32700),
        (b"5", -32600),
        (b"{}", -32600),
        (b'{"id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":2.0,"id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":5}', -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":[1],"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}', -32600),
        (b'{"a":' * 100_000, -32600),
    ],
)
def test_what_is_no_message_is_refused(account: Account, body: bytes, code: int) -> None:
    assert error(account.post("/v1/mcp", content=body, headers=JSON), 400, code)["id"] is None


@pytest.mark.parametrize("method", ["nope", "", "tools/nope", "resources/list", "prompts/list", "__class__", "x" * 10_000])
def test_an_unknown_method_is_told(account: Account, method: str) -> None:
    assert len(error(send(account, request(method)), 200, -32601)["error"]["message"]) < 300


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"name": None},
        {"name": 5},
        {"name": ["memory_get"]},
        {"name": "nope"},
        {"name": "MEMORY_GET"},
        {"name": "export_file"},
        {"name": "import_begin"},
        {"name": "hibernate"},
        {"name": "embeddings_store"},
        {"name": "memory_stats", "arguments": [1]},
        {"name": "memory_stats", "arguments": "x"},
    ],
)
def test_a_bad_call_is_told(account: Account, params: dict[str, Any]) -> None:
    """Operations of the engine that are no tools can't be called."""
    error(send(account, request("tools/call", params)), 200, -32602)


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_there_are_no_streams_and_no_sessions(account: Account, method: str) -> None:
    problem(account.request(method, "/v1/mcp"), 405, "method_not_allowed")
    assert "mcp-session-id" not in send(account, request("ping"), **{"Mcp-Session-Id": "x", "Last-Event-ID": "1"}).headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://evil.example#localhost",
        "http://localhost@evil.example",
        "http://[",
        "file://",
        "https://127.0.0.2.example:80",
    ],
)
def test_a_page_of_another_origin_is_refused(account: Account, origin: str) -> None:
    call = request("tools/call", {"name": "memory_create", "arguments": {"content": "x"}})

    problem(send(account, call, Origin=origin), 403, "forbidden")
    assert count(account) == 0


@pytest.mark.parametrize(
    "origin", ["http://localhost", "http://localhost:6274", "http://127.0.0.1:3000", "https://localhost", "http://[::1]:8080"]
)
def test_a_page_of_this_machine_is_fine(account: Account, origin: str) -> None:
    assert send(account, request("ping"), Origin=origin).status_code == 200


def test_our_own_origin_is_fine(service: Service, account: Account) -> None:
    assert send(account, request("ping"), Origin=service.url).status_code == 200


def test_without_a_key_there_is_nothing(service: Service) -> None:
    answer = httpx.post(f"{service.url}/v1/mcp", json=request("initialize", {}))

    problem(answer, 401, "key_missing")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_headers_of_engrams_own_clients_are_ignored(account: Account, other_account: Account) -> None:
    other_account.create("theirs")
    call = request("tools/call", {"name": "memory_stats", "arguments": {}})
    result = send(account, call, **{"X-Tenant-Slug": other_account.database, "Accept": "application/json"}).json()["result"]

    assert result["structuredContent"]["memories"] == 0


def test_arguments_may_be_left_out_or_null(account: Account) -> None:
    for params in (
        {"name": "memory_stats"},
        {"name": "memory_stats", "arguments": None},
        {"name": "memory_stats", "_meta": {"progressToken": 1}},
    ):
        assert send(account, request("tools/call", params)).json()["result"]["isError"] is False
