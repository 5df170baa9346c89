"""The two public pages: what this is, and signing up.

Complete without JavaScript. A key is shown in the answer to the form and nowhere else: it is in no address, no cookie and no
cache. Handlers take what they need as dependencies (``registry``, ``public_url``, ``plans``) and know nothing of where it
comes from.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, Protocol

from litestar import HttpMethod, Request, Response, post, route
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException
from litestar.params import SkipValidation
from litestar.response import Template

from gateway.console.form import FIELDS, FORM_BYTES_MAX, FORM_MEDIA_TYPE, SignUpForm, is_from_another_site, read_form
from gateway.console.rendering import KEEP_NOT, STATIC, TEMPLATES, page, problem_page
from tenants.registry.signup import EmailTaken, InvalidField, SignedUp

__all__ = ["PAGES", "STATIC", "TEMPLATES", "Plan", "SignUps", "SignupDoor"]

_TAKEN: Final = "There is an account with this e-mail address already."


class SignUps(Protocol):
    """The part of the registry that opens accounts."""

    async def sign_up(self, *, email: str, password: str, organization: str) -> SignedUp:
        """Open an account. ``InvalidField`` for a value it won't take, ``EmailTaken`` for an address it knows."""
        ...


class SignupDoor(Protocol):
    """The part of admission that bounds how often one address signs up."""

    def admit(self, connection: Request[Any, Any, Any]) -> None:
        """Raise the problem of too many requests, or let it pass."""
        ...


class Plan(Protocol):
    """One row of the plans table, ready to be shown."""

    @property
    def name(self) -> str: ...
    @property
    def price(self) -> str: ...
    @property
    def memories(self) -> str: ...
    @property
    def searches(self) -> str: ...
    @property
    def calls(self) -> str: ...
    @property
    def storage(self) -> str: ...
    @property
    def members(self) -> str: ...


_READ: Final = [HttpMethod.GET, HttpMethod.HEAD]


@route("/", http_method=_READ, include_in_schema=False)
async def landing(
    plans: NamedDependency[SkipValidation[Sequence[Plan]]],
    public_url: NamedDependency[SkipValidation[str]],
    signup_plan: NamedDependency[SkipValidation[str]],
) -> Template:
    """Say what this is, how to use it and what the plans hold."""
    return page("landing.html", plans=plans, public_url=public_url.rstrip("/"), signup_plan=signup_plan.capitalize())


@route("/signup", http_method=_READ, include_in_schema=False)
async def sign_up_form() -> Template:
    """Show the empty form."""
    return _form_page(SignUpForm())


def _on_problem(request: Request[Any, Any, Any], problem: HTTPException) -> Response[Any]:
    """Answer a person with a page where a program would get JSON: too large a body, too many sign-ups."""
    return problem_page(problem.status_code, headers=problem.headers)


@post(
    "/signup",
    include_in_schema=False,
    request_max_body_size=FORM_BYTES_MAX,
    exception_handlers={HTTPException: _on_problem},
)
async def sign_up(
    request: Request[Any, Any, Any],
    registry: NamedDependency[SkipValidation[SignUps]],
    public_url: NamedDependency[SkipValidation[str]],
    signup_limit: NamedDependency[SkipValidation[SignupDoor]],
) -> Template:
    """Open an account and show its key, or show the form again with what is wrong beside each field."""
    form = await _receive(request, public_url=public_url)
    if empty := form.empty_fields():
        return _form_page(form, errors=empty, status_code=400)
    signup_limit.admit(request)
    try:
        signed_up = await registry.sign_up(email=form.email, password=form.password, organization=form.organization)
    except InvalidField as error:
        return _form_page(form, errors={error.field: error.message}, status_code=400)
    except EmailTaken:
        return _form_page(form, errors={"email": _TAKEN}, status_code=409)
    return _key_page(signed_up, name=form.organization, public_url=public_url.rstrip("/"))


async def _receive(request: Request[Any, Any, Any], *, public_url: str) -> SignUpForm:
    """Return the form that our own page sent; ``HTTPException`` for anything else, before its body is read."""
    if is_from_another_site(request.headers, public_url=public_url):
        raise HTTPException(status_code=403)
    if request.content_type[0] != FORM_MEDIA_TYPE:
        raise HTTPException(status_code=415)
    try:
        return read_form(await request.body())
    except ValueError as error:
        raise HTTPException(status_code=400) from error


def _form_page(form: SignUpForm, *, errors: dict[str, str] | None = None, status_code: int = 200) -> Template:
    """Return the form. The password never goes back to the browser; the first field with an error gets the focus."""
    errors = errors or {}
    return page(
        "signup.html",
        status_code=status_code,
        cache_control=KEEP_NOT,
        email=form.email,
        organization=form.organization,
        errors=errors,
        focus=next((field for field in FIELDS if field in errors), None),
        general_error=next((message for field, message in errors.items() if field not in FIELDS), None),
        taken=status_code == 409,
    )


def _key_page(signed_up: SignedUp, *, name: str, public_url: str) -> Template:
    """Return the only page that ever holds the key."""
    server = {
        "type": "http",
        "url": f"{public_url}/v1/mcp",
        "headers": {"Authorization": f"Bearer {signed_up.api_key}"},
    }
    return page(
        "key.html",
        status_code=201,
        cache_control=KEEP_NOT,
        name=name,
        signed_up=signed_up,
        public_url=public_url,
        mcp_configuration=json.dumps({"mcpServers": {"engram": server}}, indent=2),
    )


PAGES: Final[list[Any]] = [landing, sign_up_form, sign_up]
