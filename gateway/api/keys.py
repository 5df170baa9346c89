"""``/v1/keys``: make, list and revoke the keys of a database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from msgspec import Meta

from engine.catalogue.memory import Timestamp
from engine.catalogue.operation import Arguments
from engine.protocol.moment import from_datetime, system_clock, to_text
from gateway.admission import require
from gateway.api.errors import Problem, invalid
from gateway.api.problem_schema import PROBLEMS
from tenants.registry.keys import SCOPES, KeyRecord, LastAdminKey, Principal
from tenants.registry.registry import Registry
from tenants.registry.signup import NAME_LENGTH_MAX, InvalidField


class KeyCreate(Arguments):
    """What a new key is to be."""

    name: Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
    scopes: Annotated[list[Literal["read", "write", "admin"]], Meta(min_length=1, max_length=3)] = msgspec.field(
        default_factory=lambda: ["read", "write"]
    )
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


class Key(msgspec.Struct, kw_only=True):
    """A key as lists show it: never the key itself."""

    id: str
    name: str
    scopes: list[str]
    hint: str
    """Its first characters, to recognise it by."""
    created_at: Timestamp
    expires_at: Timestamp | None


class NewKey(Key, kw_only=True):
    """A key just made; ``key`` is shown this once."""

    key: str


class Keys(msgspec.Struct):
    """All keys of the database."""

    keys: list[Key]


@post("/keys", guards=[require("admin")], responses=PROBLEMS, summary="Make a key", tags=["keys"])
async def create_key(request: Request[Principal, Any, Any], data: KeyCreate, registry: NamedDependency[Registry]) -> NewKey:
    """Make another key for this database. It is shown once."""
    try:
        expires_at = None if data.expires_at is None else from_datetime(data.expires_at.astimezone(UTC))
    except OverflowError as error:
        raise invalid("expires_at", "is outside the calendar") from error
    if expires_at is not None and expires_at <= system_clock():
        raise invalid("expires_at", "must be in the future")
    scopes = tuple(scope for scope in SCOPES if scope in data.scopes)
    try:
        key, record = await registry.create_key(request.user, name=data.name, scopes=scopes, expires_at=expires_at)
    except InvalidField as error:
        raise invalid(error.field, error.message) from error
    return NewKey(key=key, **_fields(record))


@get("/keys", guards=[require("admin")], responses=PROBLEMS, summary="List keys", tags=["keys"])
async def list_keys(request: Request[Principal, Any, Any], registry: NamedDependency[Registry]) -> Keys:
    """List the keys of this database that are not revoked."""
    return Keys([Key(**_fields(record)) for record in await registry.list_keys(request.user)])


@delete(
    "/keys/{key_id:str}", guards=[require("admin")], status_code=204, responses=PROBLEMS, summary="Revoke a key", tags=["keys"]
)
async def revoke_key(request: Request[Principal, Any, Any], key_id: str, registry: NamedDependency[Registry]) -> None:
    """Revoke a key. It is refused from the moment this returns."""
    try:
        revoked = await registry.revoke_key(request.user, key_id)
    except LastAdminKey as error:
        detail = "This is the last lasting key with the scope admin; make another one first."
        raise Problem("conflict", detail) from error
    if not revoked:
        raise Problem("not_found")


def _fields(record: KeyRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "scopes": list(record.scopes),
        "hint": record.hint,
        "created_at": to_text(record.created_at),
        "expires_at": None if record.expires_at is None else to_text(record.expires_at),
    }


ROUTES = [create_key, list_keys, revoke_key]
