"""The control plane on a real SQLite file."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from tenants.registry.database import open_database
from tenants.registry.keys import LastAdminKey
from tenants.registry.registry import Registry
from tenants.registry.signup import EmailTaken, InvalidField
from tenants.registry.tables import metadata

ACCOUNT = {"email": "ada@example.com", "password": "ten characters", "organization": "Analytical Engines"}


def registry(folder: Path, *, master_key: bytes | None = None) -> Registry:
    return Registry(f"sqlite+aiosqlite:///{folder / 'control.db'}", master_key=master_key, signup_plan="free")


async def test_a_sign_up_gives_a_key_that_is_found_also_after_a_restart(tmp_path: Path) -> None:
    async with registry(tmp_path) as first:
        account = await first.sign_up(**ACCOUNT)
    async with registry(tmp_path) as again:
        principal = again.find_key(account.api_key)

    assert principal is not None
    assert (principal.tenant, principal.organization) == (account.database, account.organization)
    assert principal.scopes == ("read", "write", "admin")


async def test_a_key_and_a_password_are_nowhere_in_the_file(tmp_path: Path) -> None:
    async with registry(tmp_path) as opened:
        account = await opened.sign_up(**ACCOUNT)
        stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert account.api_key.encode() not in stored
    assert account.api_key[8:38].encode() not in stored
    assert ACCOUNT["password"].encode() not in stored
    assert b"ada@example.com" in stored


async def test_with_a_master_key_the_file_alone_recognises_no_key(tmp_path: Path) -> None:
    async with registry(tmp_path, master_key=os.urandom(32)) as opened:
        account = await opened.sign_up(**ACCOUNT)
    async with registry(tmp_path, master_key=os.urandom(32)) as stranger:
        assert stranger.find_key(account.api_key) is None
    with sqlite3.connect(tmp_path / "control.db") as connection:
        assert connection.execute("SELECT count(*) FROM secrets").fetchone() == (0,)
    connection.close()


async def test_one_address_signs_up_once_however_many_try_at_once(tmp_path: Path) -> None:
    async with registry(tmp_path) as opened:
        attempts = [opened.sign_up(**ACCOUNT | {"email": email}) for email in ("ada@example.com", " ADA@example.com ") * 3]
        answers = await asyncio.gather(*attempts, return_exceptions=True)

    assert [type(answer) for answer in answers if isinstance(answer, Exception)] == [EmailTaken] * 5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "no address"),
        ("email", "a@b"),
        ("email", "a@b..com"),
        ("email", "a" * 250 + "@example.com"),
        ("email", "a\x00@example.com"),
        ("password", "too short"),
        ("password", "x" * 257),
        ("organization", "   "),
        ("organization", "x" * 101),
        ("organization", "line\nbreak"),
    ],
)
async def test_what_cannot_be_taken_is_named(tmp_path: Path, field: str, value: str) -> None:
    async with registry(tmp_path) as opened:
        with pytest.raises(InvalidField) as error:
            await opened.sign_up(**ACCOUNT | {field: value})

    assert error.value.field == field


async def test_a_revoked_key_is_refused_at_once_and_for_good(tmp_path: Path) -> None:
    async with registry(tmp_path) as opened:
        account = await opened.sign_up(**ACCOUNT)
        owner = opened.find_key(account.api_key)
        assert owner is not None
        key, record = await opened.create_key(owner, name="second", scopes=("read",), expires_at=None)
        assert opened.find_key(key) is not None

        assert await opened.revoke_key(owner, record.id)
        assert opened.find_key(key) is None
        assert not await opened.revoke_key(owner, record.id)
    async with registry(tmp_path) as again:
        assert again.find_key(key) is None


async def test_nobody_revokes_or_sees_anothers_key(tmp_path: Path) -> None:
    async with registry(tmp_path) as opened:
        first = opened.find_key((await opened.sign_up(**ACCOUNT)).api_key)
        second_key = (await opened.sign_up(**ACCOUNT | {"email": "bob@example.com"})).api_key
        second = opened.find_key(second_key)
        assert first is not None
        assert second is not None

        assert not await opened.revoke_key(first, second.key_id)
        assert [record.id for record in await opened.list_keys(first)] == [first.key_id]
        assert opened.find_key(second_key) == second


async def test_a_key_ends_at_its_time(tmp_path: Path) -> None:
    async with registry(tmp_path) as opened:
        owner = opened.find_key((await opened.sign_up(**ACCOUNT)).api_key)
        assert owner is not None
        key, _ = await opened.create_key(owner, name="over", scopes=("read",), expires_at=1)

        assert opened.find_key(key) is None


async def test_the_migrations_make_exactly_the_tables_of_the_code(tmp_path: Path) -> None:
    engine = await open_database(f"sqlite+aiosqlite:///{tmp_path / 'control.db'}")
    async with engine.connect() as connection:
        differences = await connection.run_sync(lambda plain: compare_metadata(MigrationContext.configure(plain), metadata))
    await engine.dispose()

    assert differences == []


async def test_the_last_lasting_admin_key_stays(tmp_path: Path) -> None:
    async with registry(tmp_path) as opened:
        account = await opened.sign_up(**ACCOUNT)
        owner = opened.find_key(account.api_key)
        assert owner is not None
        await opened.create_key(owner, name="reads", scopes=("read",), expires_at=None)
        await opened.create_key(owner, name="ends", scopes=("admin",), expires_at=2**60)
        with pytest.raises(LastAdminKey):
            await opened.revoke_key(owner, owner.key_id)
        assert opened.find_key(account.api_key) == owner

        await opened.create_key(owner, name="second", scopes=("admin",), expires_at=None)
        assert await opened.revoke_key(owner, owner.key_id)
