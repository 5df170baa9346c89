"""The control plane as the gateway uses it: one object, opened at the start and closed at the end.

Every change is committed before it takes effect in memory, and takes effect in memory before the call returns.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from types import TracebackType
from typing import Self

import argon2
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.protocol.moment import system_clock
from tenants.registry import databases, keys, pepper, signup
from tenants.registry.database import open_database
from tenants.registry.keys import SCOPES, KeyDirectory, KeyRecord, LastAdminKey, Principal
from tenants.registry.signup import EmailTaken, SignedUp


class Registry:
    """Organizations, databases, people and keys. An async context manager."""

    def __init__(
        self,
        url: str,
        *,
        master_key: bytes | None,
        signup_plan: str,
        database_made: Callable[[str, str], None] = lambda _database, _plan: None,
    ) -> None:
        """``database_made`` is told of each new database and its plan."""
        self._url = url
        self._master_key = master_key
        self._signup_plan = signup_plan
        self._database_made = database_made
        self._passwords = argon2.PasswordHasher()
        self._engine: AsyncEngine
        self._keys: KeyDirectory

    async def __aenter__(self) -> Self:
        self._engine = await open_database(self._url)
        async with self._engine.begin() as connection:
            self._keys = KeyDirectory(await pepper.key_pepper(connection, self._master_key))
            await self._keys.load(connection)
            await databases.remove_unfinished(connection)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._engine.dispose()

    @property
    def engine(self) -> AsyncEngine:
        """The database, for who makes snapshots of it."""
        return self._engine

    async def ping(self) -> None:
        """Raise if the database does not answer."""
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    def find_key(self, key: str) -> Principal | None:
        """Return what a key stands for, from memory; ``None`` if it is no key, or unknown, revoked or expired."""
        return self._keys.find(key, system_clock())

    async def sign_up(self, *, email: str, password: str, organization: str) -> SignedUp:
        """Make an account; ``InvalidField`` or ``EmailTaken`` when that can't be."""
        email = signup.check_email(email)
        signup.check_password(password)
        organization = signup.check_name(organization, "organization")
        password_hash = await asyncio.to_thread(self._passwords.hash, password)
        now = system_clock()
        try:
            async with self._engine.begin() as connection:
                organization_id, database_id = await signup.create_account(
                    connection,
                    email=email,
                    password_hash=password_hash,
                    organization=organization,
                    plan=self._signup_plan,
                    now=now,
                )
                key, record = await keys.create(
                    connection,
                    self._keys,
                    tenant=database_id,
                    name="first key",
                    scopes=SCOPES,
                    expires_at=None,
                    now=now,
                )
        except IntegrityError as error:  # two sign-ups with one address at the same moment
            raise EmailTaken from error
        self._admit(key, record, database_id, organization_id, self._signup_plan)
        self._database_made(database_id, self._signup_plan)
        return SignedUp(organization=organization_id, database=database_id, api_key=key)

    async def begin_fork(self, owner: Principal, *, name: str | None, databases_max: int | None) -> str:
        """Make a database for the owner's organization and return its id: ``finish_fork`` or ``drop_fork`` follows.

        ``InvalidField``, or ``TooManyDatabases`` when the plan allows no more.
        """
        checked = None if name is None else signup.check_name(name, "name")
        async with self._engine.begin() as connection:
            database_id = await databases.create_fork(
                connection,
                organization=owner.organization,
                name=checked,
                databases_max=databases_max,
                now=system_clock(),
            )
        self._database_made(database_id, owner.plan)
        return database_id

    async def finish_fork(self, owner: Principal, database: str) -> str:
        """Make the first key of a fork, with all scopes, and return it."""
        fork = dataclasses.replace(owner, tenant=database)
        key, _ = await self.create_key(fork, name="first key", scopes=SCOPES, expires_at=None)
        return key

    async def drop_fork(self, database: str) -> None:
        """Take back a fork that came to nothing. One that has a key stays."""
        async with self._engine.begin() as connection:
            await databases.remove_unfinished(connection, database=database)

    async def database_plans(self) -> dict[str, str]:
        """Return the plan of each database."""
        async with self._engine.connect() as connection:
            return await databases.plans(connection)

    async def create_key(
        self, owner: Principal, *, name: str, scopes: tuple[str, ...], expires_at: int | None
    ) -> tuple[str, KeyRecord]:
        """Make another key for the owner's database; return it, for the only time, with its record."""
        name = signup.check_name(name, "name")
        async with self._engine.begin() as connection:
            key, record = await keys.create(
                connection,
                self._keys,
                tenant=owner.tenant,
                name=name,
                scopes=scopes,
                expires_at=expires_at,
                now=system_clock(),
            )
        self._admit(key, record, owner.tenant, owner.organization, owner.plan)
        return key, record

    async def list_keys(self, owner: Principal) -> list[KeyRecord]:
        """Return the keys of the owner's database."""
        async with self._engine.connect() as connection:
            return await keys.list_all(connection, owner.tenant)

    async def revoke_key(self, owner: Principal, key_id: str) -> bool:
        """End a key of the owner's database; whether there was one. ``LastAdminKey`` if that would lock everybody out."""
        async with self._engine.begin() as connection:
            scopes = await keys.revoke(connection, tenant=owner.tenant, key_id=key_id, now=system_clock())
            if scopes is not None and "admin" in scopes and not await keys.has_lasting_admin(connection, tenant=owner.tenant):
                raise LastAdminKey  # which takes the change back
        if scopes is not None:
            self._keys.remove(key_id)
        return scopes is not None

    def _admit(self, key: str, record: KeyRecord, tenant: str, organization: str, plan: str) -> None:
        principal = Principal(
            key_id=record.id,
            tenant=tenant,
            organization=organization,
            plan=plan,
            scopes=record.scopes,
            expires_at=record.expires_at,
        )
        self._keys.add(self._keys.digest(key), principal)
