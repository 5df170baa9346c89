"""Keys: which are let in, what each may do, and where they must never be seen."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tenants.registry import api_key
from tests.api.answers import head, problem, talk
from tests.service import Account, Service, wait_until

OPEN = {("POST", "/v1/signup")}
"""What works without a key. Whatever else is below /v1 demands one."""


def make_key(account: Account, **fields: Any) -> dict[str, Any]:
    answer = account.post("/v1/keys", json={"name": "another"} | fields)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def with_key(account: Account, key: str) -> Account:
    return Account(str(account.base_url), key, account.database)


def ask(service: Service, authorization: str | None) -> httpx.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    return httpx.get(f"{service.url}/v1/memories", headers=headers)


def typo(key: str, position: int) -> str:
    other = "a" if key[position] != "a" else "b"
    return key[:position] + other + key[position + 1 :]


def routes(service: Service) -> list[tuple[str, str]]:
    """Every route of the API: what the schema lists, and MCP, which is none of its paths."""
    paths = httpx.get(f"{service.url}/schema/openapi.json").json()["paths"]
    listed = [(method.upper(), path) for path, item in paths.items() for method in item if path.startswith("/v1/")]
    assert len(listed) >= 12
    return [*listed, ("POST", "/v1/mcp")]


def test_a_key_is_missing(service: Service) -> None:
    answer = ask(service, None)

    problem(answer, 401, "key_missing")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Basic {key}",
        "{key}",
        "Bearer x{key}",
        "Bearer {key}x",
        "Bearer {key} {key}",
        "Bearer ek_test_",
        "Token {key}",
        "Bearer {key},{key}",
    ],
)
def test_what_is_no_key_is_malformed(service: Service, account: Account, authorization: str) -> None:
    answer = ask(service, authorization.format(key=account.key))

    problem(answer, 401, "key_malformed")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_one_wrong_character_anywhere_is_malformed_and_not_unknown(service: Service, account: Account) -> None:
    for position in range(len(account.key)):
        problem(ask(service, f"Bearer {typo(account.key, position)}"), 401, "key_malformed")
    swapped = account.key[:10] + account.key[11] + account.key[10] + account.key[12:]
    if swapped != account.key:
        problem(ask(service, f"Bearer {swapped}"), 401, "key_malformed")
    problem(ask(service, f"Bearer {account.key.upper()}"), 401, "key_malformed")


@pytest.mark.parametrize("line", ["bearer {}", "BEARER   {}", "Bearer {}  ", "  Bearer {}"])
def test_the_scheme_has_no_case_and_the_key_may_have_blanks_around_it(service: Service, account: Account, line: str) -> None:
    request = head("GET", "/v1/memories", None, f"Authorization: {line.format(account.key)}")

    assert talk(service, request).status == 200


@pytest.mark.parametrize("line", ["Bearer ", "Bearer \xe9", "Bearer\t", "Bearer {}\xa0x", "Bearer ek_live_" + "é" * 18])
def test_a_header_that_no_library_sends_is_malformed(service: Service, account: Account, line: str) -> None:
    answer = talk(service, head("GET", "/v1/memories", None, f"Authorization: {line.format(account.key)}"))

    assert (answer.status, "key_malformed" in answer.text) == (401, True)


def test_unknown_revoked_and_expired_keys_answer_the_same_bytes(service: Service, account: Account) -> None:
    revoked = make_key(account)
    assert ask(service, f"Bearer {revoked['key']}").status_code == 200
    assert account.delete(f"/v1/keys/{revoked['id']}").status_code == 204
    expired = _expired_key(account)
    answers = [ask(service, f"Bearer {key}") for key in (api_key.generate(), revoked["key"], expired)]

    for answer in answers:
        problem(answer, 401, "key_invalid")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.content == answers[0].content
        assert list(answer.headers) == list(answers[0].headers)


def _expired_key(account: Account) -> str:
    """Make a key that ends by the node's own clock, taken from an answer, and wait for its end."""
    from datetime import datetime, timedelta

    now = datetime.fromisoformat(account.create("what time is it?")["created_at"])
    key: str = make_key(account, expires_at=(now + timedelta(seconds=2)).isoformat())["key"]
    with with_key(account, key) as client:
        assert client.get("/v1/memories").status_code == 200
        wait_until(lambda: client.get("/v1/memories").status_code == 401)
    return key


def test_every_route_but_sign_up_demands_a_key(service: Service) -> None:
    for method, template in routes(service):
        if (method, template) in OPEN:
            continue
        path = re.sub(r"\{[^}]*\}", "1", template)
        for authorization in (None, f"Bearer {api_key.generate()}"):
            headers = {} if authorization is None else {"Authorization": authorization}
            answer = httpx.request(method, service.url + path, headers=headers, json=None if method == "GET" else {})
            problem(answer, 401, "key_missing" if authorization is None else "key_invalid")


def test_a_key_is_checked_before_the_body(service: Service) -> None:
    answer = talk(service, head("POST", "/v1/memories", None, "Content-Length: 1000"), b"{")

    assert answer.status == 401


def test_keys_are_made_listed_and_revoked(service: Service, account: Account) -> None:
    first = account.get("/v1/keys").json()["keys"]
    assert [key["scopes"] for key in first] == [["read", "write", "admin"]]

    made = make_key(account, name="Ci ✓", scopes=["admin", "read"], expires_at="2999-01-01T02:00:00+02:00")
    assert api_key.is_well_formed(made["key"])
    assert made["key"].startswith(made["hint"].rstrip("…"))
    assert (made["name"], made["scopes"], made["expires_at"]) == ("Ci ✓", ["read", "admin"], "2999-01-01T00:00:00.000000Z")

    listed = account.get("/v1/keys")
    assert listed.json()["keys"] == [*first, {name: value for name, value in made.items() if name != "key"}]
    assert made["key"] not in listed.text
    assert account.key not in listed.text

    assert account.delete(f"/v1/keys/{made['id']}").status_code == 204
    problem(ask(service, f"Bearer {made['key']}"), 401, "key_invalid")
    assert account.get("/v1/keys").json()["keys"] == first
    problem(account.delete(f"/v1/keys/{made['id']}"), 404, "not_found")


def test_a_key_has_read_and_write_unless_told_otherwise(account: Account) -> None:
    assert make_key(account)["scopes"] == ["read", "write"]
    assert make_key(account, scopes=["read", "read"])["scopes"] == ["read"]


def test_a_key_can_revoke_itself_unless_it_is_the_last_that_makes_keys(service: Service, account: Account) -> None:
    own = account.get("/v1/keys").json()["keys"][0]["id"]

    problem(account.delete(f"/v1/keys/{own}"), 409, "conflict")
    assert ask(service, f"Bearer {account.key}").status_code == 200

    account.post("/v1/keys", json={"name": "second", "scopes": ["admin"]})
    assert account.delete(f"/v1/keys/{own}").status_code == 204
    problem(ask(service, f"Bearer {account.key}"), 401, "key_invalid")


def test_another_tenants_key_can_not_be_revoked_or_seen(service: Service, account: Account, other_account: Account) -> None:
    theirs = other_account.get("/v1/keys").json()["keys"][0]["id"]
    foreign = account.delete(f"/v1/keys/{theirs}")
    unknown = account.delete("/v1/keys/key_unknown")

    problem(foreign, 404, "not_found")
    assert foreign.content == unknown.content
    assert ask(service, f"Bearer {other_account.key}").status_code == 200
    assert theirs not in account.get("/v1/keys").text


def test_a_key_of_one_tenant_never_sees_anothers(account: Account, other_account: Account) -> None:
    account.create("mine")
    other_account.create("theirs")

    assert [memory["content"] for memory in account.get("/v1/memories").json()["memories"]] == ["mine"]
    assert "theirs" not in account.get("/v1/export").text


FILE = {"version": "1.0", "memories": []}
CALLS: dict[str, list[tuple[str, str, Any]]] = {
    "read": [
        ("GET", "/v1/memories", None),
        ("GET", "/v1/memories/1", None),
        ("GET", "/v1/memories/1/versions", None),
        ("GET", "/v1/memories/1/versions/1", None),
        ("GET", "/v1/memories/1/links", None),
        ("GET", "/v1/memories/1/related", None),
        ("GET", "/v1/memories/1/path?to=2", None),
        ("POST", "/v1/search", {"query": "x"}),
        ("POST", "/v1/context", {"query": "x"}),
        ("POST", "/v1/context/prompt", {"query": "x"}),
        ("GET", "/v1/stats", None),
        ("GET", "/v1/tags", None),
        ("GET", "/v1/activity", None),
        ("GET", "/v1/duplicates", None),
        ("GET", "/v1/workspaces", None),
        ("GET", "/v1/workspaces/default", None),
        ("GET", "/v1/export", None),
        ("GET", "/v1/backups", None),
    ],
    "write": [
        ("POST", "/v1/memories", {"content": "y"}),
        ("POST", "/v1/memories/batch", {"create": [{"content": "z"}]}),
        ("PATCH", "/v1/memories/1", {"importance": 1}),
        ("POST", "/v1/memories/1/revert", {"version": 1}),
        ("PUT", "/v1/memories/1/expiration", {"ttl_seconds": 3600}),
        ("POST", "/v1/memories/1/links", {"to_id": 2}),
        ("DELETE", "/v1/memories/1/links?to_id=2", None),
        ("POST", "/v1/import", FILE),
        ("POST", "/v1/workspaces/attic/move", {"ids": [2]}),
        ("DELETE", "/v1/workspaces/attic", None),
        ("DELETE", "/v1/memories/1", None),
        ("POST", "/v1/memories/1/restore", None),
        ("DELETE", "/v1/trash", None),
    ],
    "admin": [
        ("GET", "/v1/keys", None),
        ("POST", "/v1/keys", {"name": "x"}),
        ("DELETE", "/v1/keys/key_unknown", None),
        ("POST", "/v1/restore", {"at": "2020-01-01T00:00:00Z", "mode": "preview"}),
    ],
}
EXAMPLES = {"{memory_id}": "1", "{version}": "1", "{key_id}": "key_unknown"}


def test_the_table_of_calls_has_every_route(service: Service) -> None:
    called = {(method, path.partition("?")[0]) for calls in CALLS.values() for method, path, _ in calls}
    listed = {
        (method, re.sub(r"\{\w+\}", lambda part: EXAMPLES.get(part[0], "attic"), path)) for method, path in routes(service)
    }

    assert called - {("GET", "/v1/workspaces/default")} | {("GET", "/v1/workspaces/attic")} == listed - OPEN - {
        ("POST", "/v1/mcp")
    }


@pytest.mark.parametrize("scopes", [["read"], ["write"], ["admin"], ["read", "write"]], ids="-".join)
def test_a_key_may_do_what_its_scopes_say_and_nothing_else(account: Account, scopes: list[str]) -> None:
    for _ in range(2):
        account.create("x")
    before = account.get("/v1/memories").json()
    with with_key(account, make_key(account, scopes=scopes)["key"]) as client:
        for scope, calls in CALLS.items():
            for method, path, body in calls:
                answer = client.request(method, path, json=body)
                if scope not in scopes:
                    assert problem(answer, 403, "forbidden")["scope"] == scope, (method, path)
                elif path == "/v1/restore":
                    problem(answer, 400, "invalid", "at")  # before there was anything
                else:
                    assert answer.status_code in (200, 201, 204) or path == "/v1/keys/key_unknown", (method, path)
    if "write" not in scopes:
        assert account.get("/v1/memories").json() == before


def test_no_secret_and_no_memory_is_in_the_logs_or_the_control_plane(service: Service) -> None:
    canary = {
        name: f"canary{name}{uuid4().hex}"
        for name in ("content", "query", "password", "metadata", "tag", "file", "bad", "name")
    }
    email = f"{uuid4().hex}@example.com"
    body = {"email": email, "password": canary["password"], "organization": "Test"}
    account = Account(service.url, httpx.post(f"{service.url}/v1/signup", json=body, timeout=30).json()["api_key"], "")
    httpx.post(f"{service.url}/v1/signup", json=body, timeout=30)
    httpx.post(f"{service.url}/v1/signup", json=body | {"email": canary["password"]})
    httpx.post(f"{service.url}/signup", data=body | {"email": canary["password"]})
    with account:
        memory_id = account.create(canary["content"], metadata={"m": canary["metadata"]}, tags=[canary["tag"]])["id"]
        account.search(canary["query"])
        account.get("/v1/memories", params={"tag": canary["tag"], canary["query"]: "x"})
        account.post("/v1/memories", json={"content": canary["bad"], "type": canary["bad"], canary["bad"]: 1})
        account.post("/v1/memories", content=f'{{"content":"{canary["bad"]}"'.encode())
        account.post("/v1/memories", json={"content": canary["bad"], "metadata": {canary["bad"]: 10**30}})
        entry = {"id": 7, "content": canary["file"], "memory_type": "note", "created_at": "2026-01-01T00:00:00Z"}
        account.post("/v1/import", json={"version": "1.0", "memories": [entry, entry | {"memory_type": canary["bad"]}]})
        account.post("/v1/import", json={"version": "1.0", "memories": [entry | {"content": 1, "tags": [canary["bad"]]}]})
        call = {"name": "memory_create", "arguments": {"content": canary["content"], "type": canary["bad"]}}
        account.post("/v1/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
        made = make_key(account, name=canary["name"])
        account.delete(f"/v1/keys/{made['id']}")
        ask(service, f"Bearer {typo(made['key'], 20)}")
        ask(service, f"Basic {canary['password']}")
        account.delete(f"/v1/memories/{memory_id}")

    wait_until(lambda: account.database in service.log())
    log = service.log().encode()
    control = b"".join(path.read_bytes() for path in sorted(service.folder.glob("control.db*")))
    assert email.encode() in control, "the file that holds accounts was looked at"
    for name, value in canary.items():
        assert value.encode() not in log, name
        assert name == "name" or value.encode() not in control, name
    assert email.encode() not in log
    for key in (account.key, made["key"], typo(made["key"], 20)):
        assert key.encode() not in log + control
        assert key[12:40].encode() not in log + control
