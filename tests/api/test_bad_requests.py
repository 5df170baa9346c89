"""Requests that are too large, lie about their size, or are hardly HTTP; most over a plain socket."""

from __future__ import annotations

import httpx
import pytest

from tests.api.answers import JSON, count, head, problem, talk
from tests.service import Account, Service

BODY_MAX = 8 * 1024 * 1024
CONTENT_MAX = 64 * 1024
CHUNK = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
BOUNDED = [
    ("POST", "/v1/memories"),
    ("PATCH", "/v1/memories/1"),
    ("POST", "/v1/search"),
    ("POST", "/v1/keys"),
    ("POST", "/v1/mcp"),
]
BOUNDED += [("POST", "/v1/signup")]
TYPE = "Content-Type: application/json"


@pytest.fixture(autouse=True)
def stays_alive(service: Service) -> None:
    """Every test leaves a node that answers; the next one would fail otherwise."""
    assert httpx.get(f"{service.url}/health").status_code == 200


@pytest.mark.parametrize(("method", "path"), BOUNDED)
@pytest.mark.parametrize("length", [BODY_MAX + 1, 10**9, 10**18])
def test_a_declared_size_over_the_limit_is_refused_before_the_body(
    service: Service, account: Account, method: str, path: str, length: int
) -> None:
    answer = talk(service, head(method, path, account, TYPE, f"Content-Length: {length}"), b'{"content"')

    assert answer.status == 413
    assert "application/problem+json" in answer.text


@pytest.mark.parametrize(("method", "path"), BOUNDED)
def test_a_body_without_a_size_is_refused_at_the_limit(service: Service, account: Account, method: str, path: str) -> None:
    """The last chunk never comes: whoever waits for the end of the body never answers."""
    request = head(method, path, account, TYPE, "Transfer-Encoding: chunked")

    assert talk(service, request, *[CHUNK] * (BODY_MAX // 0x10000 + 1)).status == 413
    assert count(account) == 0


def test_a_body_at_the_limit_is_read_and_one_byte_more_is_not(account: Account) -> None:
    body = b'{"query":"x"}'.rjust(BODY_MAX)

    assert account.post("/v1/search", content=body, headers=JSON).status_code == 200
    problem(account.post("/v1/search", content=body + b" ", headers=JSON), 413, "too_large")


@pytest.mark.parametrize("text", ["a", "ä", "😀"])
def test_content_has_at_most_64_kib_of_utf8(account: Account, text: str) -> None:
    largest = text * (CONTENT_MAX // len(text.encode()))
    memory = account.create(largest)
    assert account.get(f"/v1/memories/{memory['id']}").json()["content"] == largest

    for answer in (
        account.post("/v1/memories", json={"content": largest + "a"}),
        account.patch(f"/v1/memories/{memory['id']}", json={"content": largest + "a"}),
    ):
        assert problem(answer, 413, "too_large", "content")["limit"] == CONTENT_MAX
    assert count(account) == 1


def test_a_body_that_ends_early_stores_nothing(service: Service, account: Account) -> None:
    for body in (b'{"content":"x"}', b'{"content":', b""):
        request = head("POST", "/v1/memories", account, TYPE, "Content-Length: 400")
        answer = talk(service, request, body, half_close=True)
        assert answer.status in (0, 400)
        assert answer.closed or answer.status
    assert count(account) == 0


def test_a_chunked_body_that_ends_early_stores_nothing(service: Service, account: Account) -> None:
    for body in (b'f\r\n{"content":"x"}\r\n', b"f\r\n{", b"zz\r\n", b"-1\r\n", b"FFFFFFFFFFFFFFFFF\r\n"):
        request = head("POST", "/v1/memories", account, TYPE, "Transfer-Encoding: chunked")
        assert talk(service, request, body, half_close=True).status in (0, 400, 413)
    assert count(account) == 0


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: -1",),
        ("Content-Length: abc",),
        ("Content-Length: 99999999999999999999999999",),
        ("Content-Length: 5", "Content-Length: 15"),
        ("Content-Length: 15", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: gzip",),
    ],
)
def test_contradictory_lengths_are_refused(service: Service, account: Account, lines: tuple[str, ...]) -> None:
    request = head("POST", "/v1/memories", account, TYPE, *lines) + b'{"content":"x"}0\r\n\r\n'

    assert talk(service, request).status in (400, 411, 413, 501)
    assert count(account) == 0


def test_a_length_that_is_too_short_takes_no_more(service: Service, account: Account) -> None:
    request = head("POST", "/v1/memories", account, TYPE, "Content-Length: 5") + b'{"content":"x"}'

    assert talk(service, request).status == 400
    assert count(account) == 0


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["X-Big: " + "a" * 2_000_000], {431}),
        ([f"X-{n}: a" for n in range(1000)], {431}),
        (["Authorization: Bearer " + "e" * 300_000], {400, 401, 431}),
        (["Authorization: Bearer \xff\xfe"], {401}),
        (["No colon"], {400}),
        (["X-Folded: a\r\n b"], {400}),
        (["X-Nul: a\x00b"], {400}),
        ([": empty"], {400}),
    ],
    ids=range(8),
)
def test_bad_headers_are_refused(service: Service, lines: list[str], status: set[int]) -> None:
    assert talk(service, head("GET", "/v1/memories", None, *lines)).status in status


@pytest.mark.parametrize("length", [10_000, 60_000, 200_000])
def test_a_huge_path_or_query_is_refused(service: Service, account: Account, length: int) -> None:
    for path in ("/v1/memories/" + "9" * length, "/v1/" + "a/" * (length // 2), "/v1/memories?cursor=" + "a" * length):
        assert talk(service, head("GET", path, account)).status in (400, 404, 414), path[:30]


@pytest.mark.parametrize("method", ["PUT", "TRACE", "FOO", "PROPFIND", "get", "A" * 5000, "CONNECT"])
def test_a_method_that_nobody_takes_is_405(service: Service, account: Account, method: str) -> None:
    answer = talk(service, head(method, "/v1/memories", account))

    assert answer.status in (400, 405)


@pytest.mark.parametrize(
    "request_line",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET",
        b"GET /health",
        b"GET /health HTTP/9.9",
        b"G\x00T /health HTTP/1.1",
        b"GET /\xff HTTP/1.1",
    ],
)
def test_what_is_no_http_is_refused(service: Service, request_line: bytes) -> None:
    assert talk(service, request_line + b"\r\nHost: x\r\n\r\n").status in (400, 404, 505)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/memories/%",
        "/v1/memories/%zz",
        "/v1/memories/%ff",
        "/v1/memories/%00",
        "/v1/memories/1%2f..",
        "/v1/../etc/passwd",
        "/static/../settings.py",
        "/static/%2e%2e/pages.py",
        "/v1/memories/1;id=2",
        "/.well-known/oauth-authorization-server",
    ],
)
def test_a_trick_in_a_path_finds_nothing(service: Service, account: Account, path: str) -> None:
    account.create("x")

    assert talk(service, head("GET", path, account)).status == 404


def test_a_gzip_bomb_is_not_unpacked(account: Account) -> None:
    import gzip

    bomb = gzip.compress(b'{"content":"x"}'.rjust(100 * 1024 * 1024))
    answer = account.post("/v1/memories", content=bomb, headers=JSON | {"Content-Encoding": "gzip"})

    assert answer.status_code in (400, 413, 415)
    assert count(account) == 0
