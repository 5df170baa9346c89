"""API keys: made, listed, revoked, and recognised from memory in microseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tenants.registry import api_key
from tenants.registry.tables import api_keys, databases, new_id, organizations

SCOPES = ("read", "write", "admin")


@dataclass(frozen=True, kw_only=True)
class Principal:
    """What a key stands for: whose database, on which plan, with which rights."""

    key_id: str
    tenant: str
    organization: str
    plan: str
    scopes: tuple[str, ...]
    expires_at: int | None


@dataclass(frozen=True, kw_only=True)
class KeyRecord:
    """A key as its owner's list shows it."""

    id: str
    name: str
    scopes: tuple[str, ...]
    hint: str
    created_at: int
    expires_at: int | None


class LastAdminKey(Exception):
    """Without this key nobody could make keys for the database any more."""


class KeyDirectory:
    """All valid keys of this control plane by their digest. Changed in step with the database, read on every request."""

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper
        self._principals: dict[bytes, Principal] = {}
        self._digests: dict[str, bytes] = {}

    async def load(self, connection: AsyncConnection) -> None:
        """Read every key that is not revoked."""
        rows = await connection.execute(
            select(api_keys, databases.c.organization_id, organizations.c.plan)
            .join(databases, databases.c.id == api_keys.c.database_id)
            .join(organizations, organizations.c.id == databases.c.organization_id)
            .where(api_keys.c.revoked_at.is_(None))
        )
        for row in rows:
            self.add(row.hash, _principal(row))

    def add(self, digest: bytes, principal: Principal) -> None:
        """Let a key in from now on."""
        self._principals[bytes(digest)] = principal
        self._digests[principal.key_id] = bytes(digest)

    def remove(self, key_id: str) -> None:
        """Refuse a key from now on."""
        digest = self._digests.pop(key_id, None)
        if digest is not None:
            self._principals.pop(digest, None)

    def digest(self, key: str) -> bytes:
        """Return what is stored of ``key``."""
        return api_key.digest(key, self._pepper)

    def find(self, key: str, now: int) -> Principal | None:
        """Return what ``key`` stands for; ``None`` for what is no key, or unknown, revoked or expired.

        Its form is not looked at: only what we made can have a digest that we keep.
        """
        if len(key) != api_key.LENGTH or not key.isascii():
            return None
        principal = self._principals.get(self.digest(key))
        if principal is None or (principal.expires_at is not None and principal.expires_at <= now):
            return None
        return principal


async def create(
    connection: AsyncConnection,
    directory: KeyDirectory,
    *,
    tenant: str,
    name: str,
    scopes: tuple[str, ...],
    expires_at: int | None,
    now: int,
) -> tuple[str, KeyRecord]:
    """Insert a new key; return it, for the only time, with its record."""
    key = api_key.generate()
    record = KeyRecord(
        id=new_id("key"), name=name, scopes=scopes, hint=api_key.hint(key), created_at=now, expires_at=expires_at
    )
    await connection.execute(
        insert(api_keys).values(
            id=record.id,
            database_id=tenant,
            name=name,
            scopes=" ".join(scopes),
            hash=directory.digest(key),
            hint=record.hint,
            created_at=now,
            expires_at=expires_at,
        )
    )
    return key, record


async def list_all(connection: AsyncConnection, tenant: str) -> list[KeyRecord]:
    """Return a database's keys that are not revoked, oldest first."""
    rows = await connection.execute(
        select(api_keys)
        .where(api_keys.c.database_id == tenant, api_keys.c.revoked_at.is_(None))
        .order_by(api_keys.c.created_at, api_keys.c.id)
    )
    return [
        KeyRecord(
            id=row.id,
            name=row.name,
            scopes=tuple(row.scopes.split()),
            hint=row.hint,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )
        for row in rows
    ]


async def revoke(connection: AsyncConnection, *, tenant: str, key_id: str, now: int) -> tuple[str, ...] | None:
    """Mark a key as revoked; return the scopes it had, or ``None`` if the database has no such key."""
    scopes = await connection.execute(
        update(api_keys)
        .where(api_keys.c.id == key_id, api_keys.c.database_id == tenant, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(api_keys.c.scopes)
    )
    found = scopes.scalar_one_or_none()
    return None if found is None else tuple(found.split())


async def has_lasting_admin(connection: AsyncConnection, *, tenant: str) -> bool:
    """Whether somebody can make keys for the database for good: by a key with the scope admin that does not expire."""
    rows = await connection.execute(
        select(api_keys.c.scopes).where(
            api_keys.c.database_id == tenant, api_keys.c.revoked_at.is_(None), api_keys.c.expires_at.is_(None)
        )
    )
    return any("admin" in scopes.split() for scopes in rows.scalars())


def _principal(row: Row[Any]) -> Principal:
    return Principal(
        key_id=row.id,
        tenant=row.database_id,
        organization=row.organization_id,
        plan=row.plan,
        scopes=tuple(row.scopes.split()),
        expires_at=row.expires_at,
    )
