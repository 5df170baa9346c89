"""The control plane's tables. Times are microseconds since 1970 in UTC; ids are a prefix and 20 random characters."""

from __future__ import annotations

import secrets

from sqlalchemy import BigInteger, Column, ForeignKey, LargeBinary, MetaData, String, Table

_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

organizations = Table(
    "organizations",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("plan", String(32), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

databases = Table(
    "databases",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("name", String(100)),
)

people = Table(
    "people",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("email", String(254), nullable=False, unique=True),
    Column("password_hash", String(256), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

memberships = Table(
    "memberships",
    metadata,
    Column("organization_id", ForeignKey("organizations.id"), primary_key=True),
    Column("person_id", ForeignKey("people.id"), primary_key=True, index=True),
    Column("role", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("database_id", ForeignKey("databases.id"), nullable=False, index=True),
    Column("name", String(100), nullable=False),
    Column("scopes", String(64), nullable=False),
    Column("hash", LargeBinary(32), nullable=False, unique=True),
    Column("hint", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
)

secrets_table = Table(
    "secrets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary(64), nullable=False),
)


def new_id(prefix: str) -> str:
    """Return ``prefix_`` and 100 random bits in base 32."""
    return f"{prefix}_" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(20))
