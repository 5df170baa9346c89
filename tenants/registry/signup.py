"""Signing up: a person, an organization, its live database and the first key, all in one transaction."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tenants.registry.tables import databases, memberships, new_id, organizations, people

EMAIL_LENGTH_MAX = 254
PASSWORD_LENGTH_MIN = 10
PASSWORD_LENGTH_MAX = 256
NAME_LENGTH_MAX = 100

_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f<>()\[\],;:\"\\]{1,64}@[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\.[a-z0-9-]{2,}")


class InvalidField(Exception):
    """A value that can't be taken; ``field`` names it, ``message`` says why in words for the person who typed it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class EmailTaken(Exception):
    """There is an account with this e-mail address."""


@dataclass(frozen=True, kw_only=True)
class SignedUp:
    """The ids of what was made, and the key, which is never shown again."""

    organization: str
    database: str
    api_key: str


def check_email(email: str) -> str:
    """Return the address as it is stored, or raise ``InvalidField``."""
    normalized = email.strip().lower()
    if len(normalized) > EMAIL_LENGTH_MAX or ".." in normalized or not _EMAIL.fullmatch(normalized):
        raise InvalidField("email", "This is not an e-mail address.")
    return normalized


def check_password(password: str) -> None:
    """Raise ``InvalidField`` for a password that is too short or too long."""
    if not PASSWORD_LENGTH_MIN <= len(password) <= PASSWORD_LENGTH_MAX:
        message = f"A password has {PASSWORD_LENGTH_MIN} to {PASSWORD_LENGTH_MAX} characters."
        raise InvalidField("password", message)


def check_name(name: str, field: str) -> str:
    """Return a name without the white space around it, or raise ``InvalidField``."""
    stripped = name.strip()
    if not stripped or len(stripped) > NAME_LENGTH_MAX or not stripped.isprintable():
        raise InvalidField(field, f"A name has 1 to {NAME_LENGTH_MAX} printable characters.")
    return stripped


async def create_account(
    connection: AsyncConnection, *, email: str, password_hash: str, organization: str, plan: str, now: int
) -> tuple[str, str]:
    """Insert person, organization, membership and live database; return the ids of organization and database."""
    if (await connection.execute(select(people.c.id).where(people.c.email == email))).first() is not None:
        raise EmailTaken
    person_id, organization_id, database_id = new_id("person"), new_id("org"), new_id("db")
    await connection.execute(insert(organizations).values(id=organization_id, name=organization, plan=plan, created_at=now))
    await connection.execute(insert(people).values(id=person_id, email=email, password_hash=password_hash, created_at=now))
    await connection.execute(
        insert(memberships).values(organization_id=organization_id, person_id=person_id, role="owner", created_at=now)
    )
    await connection.execute(
        insert(databases).values(id=database_id, organization_id=organization_id, kind="live", created_at=now)
    )
    return organization_id, database_id
