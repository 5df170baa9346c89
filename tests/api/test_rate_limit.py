"""What the free plan admits, on a node of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.answers import JSON, count, problem
from tests.service import Account, Service

BURST = 50
MEMORIES_MAX = 1_000


@pytest.fixture(scope="module")
def free(models: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A node where whoever signs up gets the free plan."""
    with Service(tmp_path_factory.mktemp("free"), environment={"ENGRAM_SIGNUP_PLAN": "free"}) as running:
        yield running


@pytest.fixture
def customer(free: Service) -> Iterator[Account]:
    with free.sign_up() as account:
        yield account


def burst(account: Account, requests: int) -> list[httpx.Response]:
    """Send requests faster than ten a second, on any machine."""
    limits = httpx.Limits(max_connections=20)

    async def send() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=account.base_url, headers=account.headers, limits=limits, timeout=60) as client:
            return await asyncio.gather(*(client.get("/v1/memories/1") for _ in range(requests)))

    return asyncio.run(send())


def parallel_creates(account: Account, requests: int) -> list[httpx.Response]:
    async def send() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=account.base_url, headers=account.headers, timeout=60) as client:
            return await asyncio.gather(*(client.post("/v1/memories", json={"content": f"n {n}"}) for n in range(requests)))

    return asyncio.run(send())


def file_of(entries: int, *, first: int = 1) -> dict[str, Any]:
    times = {"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"}
    numbers = range(first, first + entries)
    return {"version": "1.0", "memories": [{"id": n, "content": f"e {n}", "memory_type": "note", **times} for n in numbers]}


def test_headers_tell_where_a_client_stands(customer: Account) -> None:
    first = customer.get("/v1/memories")
    second = customer.get("/v1/memories")

    assert first.headers["RateLimit-Limit"] == str(BURST)
    assert first.headers["RateLimit-Remaining"] == str(BURST - 1)
    assert BURST - 2 <= int(second.headers["RateLimit-Remaining"]) <= BURST - 1
    assert first.headers["RateLimit-Reset"] == second.headers["RateLimit-Reset"] == "1"


def test_a_burst_is_admitted_and_no_more_and_nobody_else_is_slowed(free: Service, customer: Account) -> None:
    started = time.monotonic()
    answers = burst(customer, 4 * BURST)
    seconds = time.monotonic() - started
    admitted = [answer for answer in answers if answer.status_code == 404]
    refused = [answer for answer in answers if answer.status_code == 429]

    assert len(admitted) + len(refused) == 4 * BURST
    assert BURST <= len(admitted) <= BURST + 10 * seconds + 1
    assert refused
    for answer in refused:
        body = problem(answer, 429, "rate_limited")
        assert answer.headers["Retry-After"] == str(body["retry_after"]) == "1"
        assert (answer.headers["RateLimit-Limit"], answer.headers["RateLimit-Remaining"]) == (str(BURST), "0")
        assert 4 <= int(answer.headers["RateLimit-Reset"]) <= 5
    with free.sign_up() as neighbour:
        assert neighbour.get("/v1/memories").headers["RateLimit-Remaining"] == str(BURST - 1)


def test_after_retry_after_there_is_room_again(customer: Account) -> None:
    refused = next(answer for answer in burst(customer, 4 * BURST) if answer.status_code == 429)
    time.sleep(int(refused.headers["Retry-After"]))

    assert customer.get("/v1/memories").status_code == 200


def test_all_keys_of_a_tenant_share_one_limit(customer: Account) -> None:
    other = Account(str(customer.base_url), customer.post("/v1/keys", json={"name": "x"}).json()["key"], customer.database)
    burst(customer, 4 * BURST)
    with other:
        answers = [other.get("/v1/memories").status_code for _ in range(30)]

    assert 429 in answers


def test_a_bad_key_is_no_tenants_request(free: Service, customer: Account) -> None:
    for _ in range(2 * BURST):
        answer = httpx.get(f"{free.url}/v1/memories", headers={"Authorization": f"Bearer {customer.key[:-1]}"})
        assert answer.status_code == 401
        assert "RateLimit-Limit" not in answer.headers

    assert customer.get("/v1/memories").headers["RateLimit-Remaining"] == str(BURST - 1)


def test_the_remainder_is_admitted_exactly_and_the_rest_is_told_why(customer: Account) -> None:
    assert customer.post("/v1/import", json=file_of(990)).json()["imported"] == 990
    answers = parallel_creates(customer, 30)
    refused = [answer for answer in answers if answer.status_code != 201]

    assert len(answers) - len(refused) == 10
    for answer in refused:
        body = problem(answer, 402, "quota_exceeded")
        assert (body["metric"], body["current"], body["limit"]) == ("memories", MEMORIES_MAX, MEMORIES_MAX)
    assert count(customer) == MEMORIES_MAX
    _reading_and_deleting_work(customer)


def _reading_and_deleting_work(full: Account) -> None:
    """At the limit: everything but growing."""
    newest = full.get("/v1/memories", params={"limit": 1}).json()["memories"][0]["id"]
    assert full.search("e 17", mode="keyword")
    assert full.get("/v1/export").json()["memory_count"] == MEMORIES_MAX
    assert full.patch(f"/v1/memories/{newest}", json={"importance": 1}).status_code == 200
    problem(full.post("/v1/import", json=file_of(1, first=5000)), 402, "quota_exceeded")
    call = {"name": "memory_create", "arguments": {"content": "x"}}
    answer = full.post("/v1/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}).json()["result"]
    assert answer["isError"] is True
    assert "quota_exceeded" in answer["content"][0]["text"]
    assert full.delete(f"/v1/memories/{newest}").status_code == 200
    problem(full.post("/v1/memories", json={"content": "the trash counts"}), 402, "quota_exceeded")
    assert full.delete(f"/v1/memories/{newest}", params={"purge": "true"}).status_code == 200
    assert full.post("/v1/memories", json={"content": "room again"}).status_code == 201
    assert count(full) == MEMORIES_MAX


def test_an_import_over_the_limit_is_refused_whole(customer: Account) -> None:
    answer = customer.post(
        "/v1/import", content=httpx.Request("POST", "http://x", json=file_of(MEMORIES_MAX + 1)).content, headers=JSON
    )
    body = problem(answer, 402, "quota_exceeded")

    assert (body["metric"], body["limit"]) == ("memories", MEMORIES_MAX)
    assert count(customer) == 0
    assert customer.post("/v1/import", json=file_of(MEMORIES_MAX)).json()["imported"] == MEMORIES_MAX


def sign_up_form(service: Service, accept: str) -> httpx.Response:
    form = {"email": f"{uuid4().hex}@example.com", "password": "correct horse", "organization": "x"}
    return httpx.post(f"{service.url}/signup", data=form, headers={"Accept": accept}, timeout=30)


def test_one_address_signs_up_only_so_often(models: object, tmp_path: Path) -> None:
    """By form and by API it is one limit."""
    with Service(tmp_path, environment={"ENGRAM_SIGNUPS_PER_MINUTE": "2"}) as strict:
        body = {"password": "correct horse", "organization": "x"}
        invalid = httpx.post(f"{strict.url}/v1/signup", json=body)
        page = sign_up_form(strict, "text/html")
        statuses = [page.status_code]
        while statuses[-1] == 201 and len(statuses) < 50:
            answer = httpx.post(f"{strict.url}/v1/signup", json=body | {"email": f"{uuid4().hex}@example.com"}, timeout=30)
            statuses.append(answer.status_code)
        problem_page = sign_up_form(strict, "text/html")

    problem(invalid, 400, "invalid", "email")
    assert statuses[0] == 201
    refused = problem(answer, 429, "rate_limited")
    assert answer.headers["Retry-After"] == str(refused["retry_after"])
    assert problem_page.status_code == 429
    assert problem_page.headers["Content-Type"].startswith("text/html")
    assert 1 <= int(problem_page.headers["Retry-After"]) <= 30
