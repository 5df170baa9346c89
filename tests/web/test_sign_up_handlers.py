"""The pages' handlers by themselves: what they answer to requests that no browser of ours would send."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from litestar import Litestar, Request
from litestar.di import Provide
from litestar.exceptions import TooManyRequestsException
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.template import TemplateConfig
from litestar.testing import TestClient

from gateway.console.form import FORM_BYTES_MAX, is_from_another_site
from gateway.console.pages import PAGES, STATIC, TEMPLATES
from gateway.console.rendering import static_address
from tenants.registry.signup import EmailTaken, InvalidField, SignedUp

PUBLIC_URL = "https://engram.example"
FORM = {"email": "a@example.com", "password": "correct horse battery", "organization": "Acme"}
KEY = "ek_live_" + "k" * 36


class Registry:
    """Remembers what it was asked and answers as it was told."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.refusal: Exception | None = None

    async def sign_up(self, *, email: str, password: str, organization: str) -> SignedUp:
        self.asked.append({"email": email, "password": password, "organization": organization})
        if self.refusal is not None:
            raise self.refusal
        return SignedUp(organization=organization, database="db_1", api_key=KEY)


class Door:
    """Counts whom it let in, until it is told to refuse."""

    def __init__(self) -> None:
        self.admitted = 0
        self.refusal: Exception | None = None

    def admit(self, connection: Request[Any, Any, Any]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.admitted += 1


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def client(registry: Registry, door: Door) -> Iterator[TestClient[Litestar]]:
    row = dict.fromkeys(("price", "memories", "searches", "calls", "storage", "members"), "1,000")
    app = Litestar(
        PAGES,
        template_config=TemplateConfig(directory=TEMPLATES, engine=JinjaTemplateEngine),
        dependencies={
            "registry": Provide(lambda: registry, sync_to_thread=False),
            "signup_limit": Provide(lambda: door, sync_to_thread=False),
            "public_url": Provide(lambda: f"{PUBLIC_URL}/", sync_to_thread=False),
            "signup_plan": Provide(lambda: "free", sync_to_thread=False),
            "plans": Provide(lambda: [SimpleNamespace(name="Free", **row)], sync_to_thread=False),
        },
    )
    with TestClient(app, base_url="http://gateway.internal") as client:
        yield client


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, False),
        ({"sec-fetch-site": "same-origin"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "same-site"}, True),
        ({"sec-fetch-site": "cross-site", "origin": PUBLIC_URL}, True),
        ({"origin": PUBLIC_URL}, False),
        ({"origin": "http://gateway.internal"}, False),
        ({"origin": "https://evil.example"}, True),
        ({"origin": "https://engram.example.evil.example"}, True),
        ({"origin": "null"}, True),
        ({"origin": ""}, True),
        ({"origin": "http://["}, True),
    ],
)
def test_a_post_from_another_site_is_refused(
    client: TestClient[Litestar], registry: Registry, headers: dict[str, str], refused: bool
) -> None:
    answer = client.post("/signup", data=FORM, headers=headers)

    assert answer.status_code == (403 if refused else 201)
    assert len(registry.asked) == (0 if refused else 1)


def test_an_origin_without_a_host_is_nobody() -> None:
    """A request without ``Host`` must not match an origin without one."""
    assert is_from_another_site({"origin": "https://"}, public_url="")


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"email=%FF", "application/x-www-form-urlencoded", 400),
        (b"email=\xff", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"f%d=1" % n for n in range(100)), "application/x-www-form-urlencoded", 400),
        (b"", "application/x-www-form-urlencoded", 400),
        (b"=&&==;", "application/x-www-form-urlencoded; charset=utf-8", 400),
        (b"{}", "application/json", 415),
        (b"--x--", "multipart/form-data; boundary=x", 415),
        (b"email=a", "", 415),
        (b"a" * (FORM_BYTES_MAX + 1), "application/x-www-form-urlencoded", 413),
    ],
)
def test_what_is_no_form_is_refused_with_a_page(
    client: TestClient[Litestar], registry: Registry, body: bytes, media_type: str, status: int
) -> None:
    answer = client.post("/signup", content=body, headers={"Content-Type": media_type})

    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")
    assert registry.asked == []


def test_the_key_is_in_no_cache_no_cookie_and_no_header(client: TestClient[Litestar]) -> None:
    answer = client.post("/signup", data=FORM)

    assert answer.headers["Cache-Control"] == "no-store"
    assert "set-cookie" not in answer.headers
    assert KEY not in str(answer.headers)
    assert f'claude mcp add --transport http engram {PUBLIC_URL}/v1/mcp --header "Authorization: Bearer {KEY}"' in answer.text
    assert f"engram import --input memories.json --url {PUBLIC_URL} --key {KEY}" in answer.text


def test_blanks_around_an_address_are_dropped_and_those_in_a_password_kept(
    client: TestClient[Litestar], registry: Registry
) -> None:
    client.post("/signup", data={"email": " a@example.com ", "password": "  correct horse  ", "organization": "\tAcme "})

    assert registry.asked == [{"email": "a@example.com", "password": "  correct horse  ", "organization": "Acme"}]


def test_an_error_of_an_unknown_field_is_told_above_the_form(client: TestClient[Litestar], registry: Registry) -> None:
    registry.refusal = InvalidField("plan", "There is no such <plan>.")
    answer = client.post("/signup", data=FORM)

    assert answer.status_code == 400
    assert '<p class="error" role="alert">There is no such &lt;plan&gt;.</p>' in answer.text


def test_a_refused_form_never_returns_the_password(client: TestClient[Litestar], registry: Registry) -> None:
    for refusal, status in ((InvalidField("password", "Too common."), 400), (EmailTaken(), 409)):
        registry.refusal = refusal
        answer = client.post("/signup", data=FORM)

        assert answer.status_code == status
        assert answer.headers["Cache-Control"] == "no-store"
        assert FORM["password"] not in answer.text
        assert 'value="a@example.com"' in answer.text


def test_too_many_sign_ups_keep_retry_after(client: TestClient[Litestar], registry: Registry, door: Door) -> None:
    door.refusal = TooManyRequestsException(headers={"Retry-After": "60"})
    answer = client.post("/signup", data=FORM)

    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "60"
    assert "Too many requests" in answer.text
    assert registry.asked == []


def test_only_a_complete_form_of_ours_counts_against_the_limit(client: TestClient[Litestar], door: Door) -> None:
    client.get("/signup")
    client.post("/signup", data=FORM | {"email": ""})
    client.post("/signup", data=FORM, headers={"origin": "https://evil.example"})
    client.post("/signup", content=b"{}", headers={"Content-Type": "application/json"})
    assert door.admitted == 0

    client.post("/signup", data=FORM)
    assert door.admitted == 1


@pytest.mark.parametrize("path", ["/", "/signup"])
def test_every_page_forbids_what_is_inline_and_holds_nothing_inline(client: TestClient[Litestar], path: str) -> None:
    answer = client.get(path)

    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert " style=" not in answer.text
    assert "<style" not in answer.text
    assert answer.text.count("<script") == answer.text.count(f'<script src="{static_address("console.js").split("?")[0]}')
    assert client.head(path).status_code == 200


def test_a_static_address_follows_its_content() -> None:
    for file in STATIC.iterdir():
        assert static_address(file.name).startswith(f"/static/{file.name}?v=")


def test_the_stylesheet_stays_small_enough_to_read() -> None:
    assert len((STATIC / "console.css").read_text().splitlines()) <= 400
