"""Bodies that no honest client sends, byte by byte: each is refused with a clear 4xx, and nothing is changed by it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.answers import JSON, count, problem
from tests.service import Account, Service

DEEP = 100_000
HUGE = b"1" + b"0" * 30


@dataclass(frozen=True)
class Route:
    """A route with a JSON body: how to reach it and a body that it takes, in which ``@`` stands for some text."""

    method: str
    path: str
    body: bytes

    def send(self, account: Account, body: bytes, **headers: str) -> httpx.Response:
        return account.request(self.method, self.path, content=body, headers=JSON | headers)


ENTRY = b'{"id":1,"content":"@","memory_type":"note","created_at":"2026-01-01T00:00:00Z"}'
CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"memory_create","arguments":{"content":"@"}}}'
ROUTES = {
    "create": Route("POST", "/v1/memories", b'{"content":"@"}'),
    "change": Route("PATCH", "/v1/memories/1", b'{"content":"@"}'),
    "search": Route("POST", "/v1/search", b'{"query":"@"}'),
    "keys": Route("POST", "/v1/keys", b'{"name":"@"}'),
    "signup": Route("POST", "/v1/signup", b'{"email":"a@example.com","password":"@ long enough","organization":"x"}'),
    "import": Route("POST", "/v1/import", b'{"version":"1.0","memories":[' + ENTRY + b"]}"),
    "mcp": Route("POST", "/v1/mcp", CALL),
}


def _broken(valid: bytes) -> dict[str, bytes]:
    """Return bodies that are no JSON, or JSON that no reader should take; made from one that is fine."""
    text = valid.replace(b"@", b"x")
    return {
        "empty": b"",
        "white space": b" \n",
        "truncated": text[:-1],
        "half": text[: len(text) // 2],
        "trailing garbage": text + b" x",
        "two documents": text + text,
        "trailing comma": text[:-1] + b",}",
        "single quotes": text.replace(b'"', b"'"),
        "comment": b"/* */" + text,
        "byte order mark": b"\xef\xbb\xbf" + text,
        "utf-16": text.decode().encode("utf-16"),
        "gzip": gzip.compress(text),
        "invalid utf-8": valid.replace(b"@", b"\xff", 1),
        "overlong utf-8": valid.replace(b"@", b"\xc0\x80", 1),
        "raw surrogate": valid.replace(b"@", b"\xed\xa0\x80", 1),
        "lone high surrogate": valid.replace(b"@", b"\\ud800", 1),
        "lone low surrogate": valid.replace(b"@", b"\\udc00x", 1),
        "reversed surrogates": valid.replace(b"@", b"\\udc00\\ud800", 1),
        "raw control character": valid.replace(b"@", b"\x00", 1),
        "bad escape": valid.replace(b"@", b"\\x41", 1),
        "not a number": text.replace(b'"x"', b"NaN", 1),
        "infinity": text.replace(b'"x"', b"-Infinity", 1),
        "overflow": text.replace(b'"x"', b"1e999", 1),
        "huge integer": text.replace(b'"x"', HUGE, 1),
        "leading zero": text.replace(b'"x"', b"01", 1),
        "arrays": b"[" * DEEP + b"]" * DEEP,
        "objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        "unclosed arrays": b"[" * DEEP,
        "arrays in a field": text.replace(b'"x"', b"[" * DEEP + b"]" * DEEP, 1),
        "arrays in an unknown field": text[:-1] + b',"unknown":' + b"[" * DEEP + b"]" * DEEP + b"}",
        "null": b"null",
        "array": b"[" + text + b"]",
        "string": b'"' + b"x" * 100 + b'"',
        "number": b"1",
        "true": b"true",
    }


CASES = [(route, name) for route, entry in ROUTES.items() for name in _broken(entry.body)]


@pytest.fixture(scope="module")
def victim(service: Service) -> Iterator[Account]:
    """An account with one memory, id 1, that no bad body may change."""
    with service.sign_up() as account:
        assert account.create("untouched")["id"] == 1
        yield account


@pytest.fixture(autouse=True)
def nothing_changes(victim: Account) -> Iterator[None]:
    def state() -> list[Any]:
        stats = victim.get("/v1/stats").json()
        return [
            stats["memories"],
            stats["pending_embeddings"],
            victim.get("/v1/memories").json(),
            victim.get("/v1/keys").json(),
        ]

    before = state()
    yield
    assert state() == before


def refused(answer: httpx.Response) -> dict[str, Any]:
    """Assert a JSON-RPC error or a tool's, and return the object that explains it."""
    assert answer.status_code in (200, 400), (answer.status_code, answer.text[:300])
    body: dict[str, Any] = answer.json()
    if "error" in body:
        assert body["error"]["code"] in (-32700, -32600, -32602)
        assert body["error"]["message"]
        return dict(body["error"])
    assert answer.status_code == 200
    assert body["result"]["isError"] is True
    explanation: dict[str, Any] = json.loads(body["result"]["content"][0]["text"])
    return explanation


@pytest.mark.parametrize(("route", "name"), CASES)
def test_a_broken_body_is_refused(victim: Account, route: str, name: str) -> None:
    body = _broken(ROUTES[route].body)[name]
    answer = ROUTES[route].send(victim, body)
    if route == "mcp":
        assert refused(answer)
    else:
        detail = problem(answer, 400, "invalid")
        assert detail["field"] != "data", "a name of ours, not of the client's"
        assert detail["detail"].strip(), detail


@pytest.mark.parametrize("route", [name for name in ROUTES if name not in ("mcp", "import")])
@pytest.mark.parametrize("field", ["tenant_id", "tenant", "plan", "id", "__proto__", "scope_type", ""])
def test_an_unknown_field_is_named(victim: Account, route: str, field: str) -> None:
    body = json.loads(ROUTES[route].body.replace(b"@", b"x")) | {field: "enterprise"}

    problem(ROUTES[route].send(victim, json.dumps(body).encode()), 400, "invalid", field or None)


@pytest.mark.parametrize("field", ["tenant_id", "plan", "id"])
def test_an_unknown_argument_of_a_tool_is_named(victim: Account, field: str) -> None:
    call = json.loads(CALL)
    call["params"]["arguments"][field] = "enterprise"

    assert refused(ROUTES["mcp"].send(victim, json.dumps(call).encode()))["field"] == field


@pytest.mark.parametrize(
    ("route", "body", "field"),
    [
        ("create", b"{}", "content"),
        ("search", b"{}", "query"),
        ("keys", b"{}", "name"),
        ("signup", b"{}", "email"),
        ("import", b"{}", "version"),
    ],
)
def test_a_missing_field_is_named(victim: Account, route: str, body: bytes, field: str) -> None:
    problem(ROUTES[route].send(victim, body), 400, "invalid", field)


BAD_FIELDS = [
    (b'"content":1', "content"),
    (b'"content":null', "content"),
    (b'"content":["x"]', "content"),
    (b'"content":""', "content"),
    (b'"content":" \\n"', "content"),
    (b'"type":"nope"', "type"),
    (b'"type":1', "type"),
    (b'"tags":"a"', "tags"),
    (b'"tags":[1]', "tags[0]"),
    (b'"tags":["a",""]', "tags[1]"),
    (b'"tags":[' + b'"a",' * 64 + b'"a"]', "tags"),
    (b'"tags":{"a":1}', "tags"),
    (b'"importance":1.01', "importance"),
    (b'"importance":-1', "importance"),
    (b'"importance":"0.5"', "importance"),
    (b'"importance":true', "importance"),
    (b'"importance":' + HUGE, "importance"),
    (b'"workspace":"UPPER"', "workspace"),
    (b'"workspace":"../x"', "workspace"),
    (b'"workspace":"a\\n"', "workspace"),
    (b'"scope":"global"', "scope"),
    (b'"scope":{"type":"user"}', "scope.id"),
    (b'"scope":{"type":"global","id":"u"}', "scope.id"),
    (b'"scope":{"type":"tenant","id":"u"}', "scope.type"),
    (b'"tier":"weekly"', "tier"),
    (b'"ttl_seconds":' + HUGE, "ttl_seconds"),
    (b'"ttl_seconds":-' + HUGE, "ttl_seconds"),
    (b'"ttl_seconds":1e30', "ttl_seconds"),
    (b'"ttl_seconds":"60"', "ttl_seconds"),
    (b'"event_time":5', "event_time"),
    (b'"event_time":' + HUGE, "event_time"),
    (b'"metadata":[]', "metadata"),
    (b'"metadata":null', "metadata"),
    (b'"metadata":{"a":' + HUGE + b"}", "metadata.a"),
    (b'"metadata":{"a":-' + HUGE + b"}", "metadata.a"),
    (b'"metadata":{"a":[1,18446744073709551616]}', "metadata.a.1"),
    (b'"metadata":{"a":9223372036854775808}', "metadata.a"),
    (b'"metadata":{"a":-9223372036854775809}', "metadata.a"),
    (b'"metadata":{"a":"' + b"x" * 16384 + b'"}', "metadata"),
]


@pytest.mark.parametrize(("fragment", "field"), BAD_FIELDS, ids=range(len(BAD_FIELDS)))
@pytest.mark.parametrize("route", ["create", "change", "mcp"])
def test_a_bad_field_is_named(victim: Account, route: str, fragment: bytes, field: str) -> None:
    content = b"" if fragment.startswith(b'"content"') else b'"content":"x",'
    if route == "mcp":
        answer = ROUTES["mcp"].send(victim, CALL.replace(b'"content":"@"', content + fragment))
        assert refused(answer)["field"] == field
    else:
        problem(ROUTES[route].send(victim, b"{" + content + fragment + b"}"), 400, "invalid", field)


@pytest.mark.parametrize("route", ["create", "change"])
@pytest.mark.parametrize(
    "inner",
    [b"[" * 8 + b"]" * 8, b'{"a":' * 8 + b"1" + b"}" * 8, b"[" * 500 + b"]" * 500, b"1e999", b"NaN", b"[" * DEEP + b"]" * DEEP],
)
def test_metadata_too_deep_or_without_a_number_names_metadata(victim: Account, route: str, inner: bytes) -> None:
    answer = ROUTES[route].send(victim, b'{"metadata":{"a":' + inner + b'},"content":"x"}')
    field = problem(answer, 400, "invalid")["field"]

    assert field.startswith("metadata") or field == "body", field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": " "}, "name"),
        ({"name": "a\u0000b"}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": "read"}, "scopes"),
        ({"scopes": ["root"]}, "scopes[0]"),
        ({"scopes": ["read"] * 4}, "scopes"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2999-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),
        ({"expires_at": 10**30}, "expires_at"),
    ],
)
def test_a_bad_key_is_refused(victim: Account, fields: dict[str, Any], field: str) -> None:
    problem(victim.post("/v1/keys", json={"name": "x"} | fields), 400, "invalid", field)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"email": "no-address"}, "email"),
        ({"email": "a@b@example.com"}, "email"),
        ({"email": "a\u0000@example.com"}, "email"),
        ({"email": "x" * 300 + "@example.com"}, "email"),
        ({"email": ["a@example.com"]}, "email"),
        ({"password": "short"}, "password"),
        ({"password": "x" * 257}, "password"),
        ({"password": 1234567890}, "password"),
        ({"organization": ""}, "organization"),
        ({"organization": "a\u0007"}, "organization"),
        ({"organization": "x" * 101}, "organization"),
    ],
)
def test_a_bad_sign_up_names_the_field_and_makes_nothing(service: Service, fields: dict[str, Any], field: str) -> None:
    good = {"email": f"{uuid4().hex}@example.com", "password": "correct horse", "organization": "x"}

    problem(httpx.post(f"{service.url}/v1/signup", json=good | fields), 400, "invalid", field)
    assert httpx.post(f"{service.url}/v1/signup", json=good, timeout=30).status_code == 201
    problem(httpx.post(f"{service.url}/v1/signup", json=good, timeout=30), 409, "email_taken", "email")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "text/html"])
def test_another_media_type_is_refused(victim: Account, route: str, media_type: str) -> None:
    """A web page may send these to any site without asking first; a JSON route that took them would be open to forms."""
    problem(ROUTES[route].send(victim, b"[]", **{"Content-Type": media_type}), 415, "unsupported_media_type")


def test_of_a_field_given_twice_the_last_counts(account: Account) -> None:
    created = account.post("/v1/memories", content=b'{"content":"first","content":"last"}', headers=JSON)

    assert (created.status_code, created.json()["content"]) == (201, "last")
    assert count(account) == 1
