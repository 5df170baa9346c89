"""``POST /v1/signup``: an account, a database and its first key."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from msgspec import Meta

from engine.catalogue.operation import Arguments
from gateway.admission import SignupLimit
from gateway.api.errors import Problem, invalid
from gateway.api.problem_schema import PROBLEMS
from tenants.registry.registry import Registry
from tenants.registry.signup import EmailTaken, InvalidField


class SignUp(Arguments):
    """Who signs up."""

    email: Annotated[str, Meta(max_length=1000)]
    password: Annotated[str, Meta(max_length=1000, description="10 to 256 characters.")]
    organization: Annotated[str, Meta(max_length=1000, description="Its name.")]


class NewAccount(msgspec.Struct):
    """What was made. ``api_key`` is shown this once and has the scopes read, write and admin."""

    organization: str
    database: str
    api_key: str


@post("/v1/signup", responses=PROBLEMS, summary="Sign up", tags=["account"], security=[])
async def sign_up(
    request: Request[Any, Any, Any],
    data: SignUp,
    registry: NamedDependency[Registry],
    signup_limit: NamedDependency[SignupLimit],
) -> NewAccount:
    """Make an account with a database of its own and return the key to it."""
    signup_limit.admit(request)
    try:
        account = await registry.sign_up(email=data.email, password=data.password, organization=data.organization)
    except InvalidField as error:
        raise invalid(error.field, error.message) from error
    except EmailTaken:
        raise Problem("email_taken", field="email") from None
    return NewAccount(account.organization, account.database, account.api_key)


ROUTES = [sign_up]
