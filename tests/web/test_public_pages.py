"""The public pages as a person meets them: in a browser, against the running service, mostly without JavaScript."""

from __future__ import annotations

import json
import re
import secrets
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

pytestmark = pytest.mark.browser

KEY = re.compile(r"ek_live_[0-9A-Za-z]{36}")
PASSWORD = "correct horse battery"


def new_email() -> str:
    return f"{secrets.token_hex(8)}@example.com"


async def submit(page: Page, url: str, *, email: str, password: str = PASSWORD, organization: str = "Acme") -> int:
    """Fill the form in, send it, and return the status of the answer."""
    await page.goto(f"{url}/signup")
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.get_by_label("Organization").fill(organization)
    async with page.expect_response(lambda response: response.request.method == "POST") as answer:
        await page.get_by_role("button", name="Create database and key").click()
    await page.wait_for_load_state()
    return (await answer.value).status


async def description(page: Page, label: str) -> str:
    """What a screen reader reads after a field's label."""
    named = await page.get_by_label(label).get_attribute("aria-describedby") or ""
    return " ".join([await page.locator(f"#{name}").text_content() or "" for name in named.split()])


async def test_the_landing_page_says_what_this_is_and_leads_to_sign_up(chromium: Browser, service_url: str) -> None:
    page = await chromium.new_page(java_script_enabled=False)
    await page.goto(service_url)

    await expect(page).to_have_title(re.compile("Engram Cloud"))
    await expect(page.get_by_role("heading", level=1)).to_have_text("A private memory database for AI agents")
    await expect(page.get_by_role("row")).to_have_count(5)
    await expect(page.get_by_role("rowheader", name="Pro")).to_be_visible()

    await page.get_by_role("link", name="Sign up", exact=True).click()

    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign up")


async def test_signing_up_without_javascript_shows_the_key_once(chromium: Browser, service_url: str) -> None:
    page = await chromium.new_page(java_script_enabled=False)
    status = await submit(page, service_url, email=new_email())
    key = await page.locator("#api-key").inner_text()
    configuration = json.loads(await page.get_by_label("Other MCP clients").inner_text())

    assert status == 201
    assert KEY.fullmatch(key)
    assert set(KEY.findall(await page.content())) == {key}
    assert configuration["mcpServers"]["engram"]["headers"] == {"Authorization": f"Bearer {key}"}
    assert key not in page.url

    await page.goto(f"{service_url}/signup")
    assert not KEY.search(await page.content())


async def test_reloading_and_going_back_do_not_show_the_key_again(chromium: Browser, service_url: str) -> None:
    page = await chromium.new_page()
    await submit(page, service_url, email=new_email())
    assert KEY.search(await page.content())

    await page.reload()
    assert not KEY.search(await page.content())

    await submit(page, service_url, email=new_email())
    await page.goto(service_url)
    await page.evaluate("history.back()")
    await page.wait_for_timeout(500)
    assert not KEY.search(await page.content())


@pytest.mark.parametrize(
    ("email", "password", "wrong"),
    [("not-an-address", PASSWORD, "E-mail address"), (None, "short", "Password"), (None, "x" * 257, "Password")],
)
async def test_what_is_wrong_stands_beside_its_field(
    chromium: Browser, service_url: str, email: str | None, password: str, wrong: str
) -> None:
    page = await chromium.new_page(java_script_enabled=False)
    email = email or new_email()
    await page.goto(f"{service_url}/signup")
    # A browser holds back what is too long for the field; an older one, or a password manager, does not.
    await page.get_by_label("Password").evaluate("field => field.removeAttribute('maxlength')")
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.get_by_label("Organization").fill("Acme & Söhne")
    async with page.expect_response(lambda response: response.request.method == "POST") as answer:
        await page.get_by_role("button", name="Create database and key").click()
    await page.wait_for_load_state()

    assert (await answer.value).status == 400
    assert "Error: " in await description(page, wrong)
    await expect(page.get_by_label(wrong)).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_label("E-mail address")).to_have_value(email)
    await expect(page.get_by_label("Organization")).to_have_value("Acme & Söhne")
    await expect(page.get_by_label("Password")).to_have_value("")
    assert password not in await page.content()


async def test_an_empty_form_names_every_field(chromium: Browser, service_url: str) -> None:
    page = await chromium.new_page(java_script_enabled=False)
    status = await submit(page, service_url, email="", password="", organization="")

    assert status == 400
    for label in ("E-mail address", "Password", "Organization"):
        assert "Error: " in await description(page, label)
    await expect(page.get_by_label("E-mail address")).to_be_focused()


async def test_a_known_address_is_told_so(chromium: Browser, service_url: str) -> None:
    page = await chromium.new_page(java_script_enabled=False)
    email = new_email()
    await submit(page, service_url, email=email)
    status = await submit(page, service_url, email=email)

    assert status == 409
    assert "an account with this e-mail address already" in await description(page, "E-mail address")
    await expect(page.get_by_label("E-mail address")).to_have_value(email)
    assert not KEY.search(await page.content())


async def test_markup_in_a_name_is_shown_as_text(chromium: Browser, service_url: str) -> None:
    page = await chromium.new_page()
    name = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    alerts: list[str] = []
    page.on("dialog", lambda dialog: alerts.append(dialog.message))

    await submit(page, service_url, email="not-an-address", organization=name)
    await expect(page.get_by_label("Organization")).to_have_value(name)

    await submit(page, service_url, email=new_email(), organization=name)
    await expect(page.locator(".name")).to_have_text(name)
    assert await page.locator("main img, main script").count() == 0
    assert alerts == []


async def test_a_form_on_another_site_is_refused(chromium: Browser, service_url: str) -> None:
    page = await chromium.new_page()
    await page.set_content(
        f"<form method=post action='{service_url}/signup'><input name=email value='{new_email()}'>"
        f"<input name=password value='{PASSWORD}'><input name=organization value=Acme><button>Go</button></form>"
    )
    async with page.expect_response(lambda response: response.request.method == "POST") as answer:
        await page.get_by_role("button", name="Go").click()

    assert (await answer.value).status == 403
    await expect(page.get_by_role("heading", level=1)).to_have_text("That request came from another site")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_overflows_a_small_phone_and_nothing_comes_from_elsewhere(
    chromium: Browser, service_url: str, scheme: str
) -> None:
    context = await chromium.new_context(
        viewport={"width": 360, "height": 740}, color_scheme="dark" if scheme == "dark" else "light"
    )
    page = await context.new_page()
    hosts: set[str] = set()
    complaints: list[str] = []
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    overflow = "document.documentElement.scrollWidth - innerWidth"

    for path in ("/", "/signup"):
        await page.goto(f"{service_url}{path}")
        assert await page.evaluate(overflow) <= 0, path
    await submit(page, service_url, email=new_email(), organization="W" * 80)
    assert await page.evaluate(overflow) <= 0
    assert complaints == []

    await submit(page, service_url, email="not-an-address")
    assert await page.evaluate(overflow) <= 0
    await page.goto(f"{service_url}/nothing-here")
    assert await page.evaluate(overflow) <= 0
    assert hosts == {urlsplit(service_url).netloc}
    await context.close()


async def test_a_block_is_copied_without_its_label(chromium: Browser, service_url: str) -> None:
    context = await chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = await context.new_page()
    await submit(page, service_url, email=new_email())
    key = await page.locator("#api-key").inner_text()
    await page.get_by_role("button", name="Copy: Claude Code").click()
    await expect(page.get_by_role("status").filter(has_text="Copied")).to_have_count(1)
    copied = await page.evaluate("navigator.clipboard.readText()")

    assert copied.startswith("claude mcp add --transport http engram http")
    assert copied.endswith(f'/v1/mcp --header "Authorization: Bearer {key}"')
    await context.close()


async def test_a_person_at_a_wrong_address_sees_a_page(chromium: Browser, service_url: str) -> None:
    page = await chromium.new_page(java_script_enabled=False)
    answer = await page.goto(f"{service_url}/no-such-page")

    assert answer is not None
    assert answer.status == 404
    await expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing at this address")
    assert answer.headers["x-request-id"] in await page.content()


async def test_a_program_at_a_wrong_address_gets_a_problem(service_url: str) -> None:
    for path in ("/no-such-page", "/v1/no-such-page"):
        for accept in ("*/*", "application/json"):
            answer = httpx.get(service_url + path, headers={"Accept": accept})
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert httpx.get(f"{service_url}/v1/no-such-page", headers={"Accept": "text/html"}).json()["code"] == "not_found"
