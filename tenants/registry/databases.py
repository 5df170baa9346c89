"""An organization's databases: the live one that sign-up made, and forks, restored beside it from the backups."""

from __future__ import annotations

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tenants.registry.tables import api_keys, databases, new_id, organizations

FORK = "fork"


class TooManyDatabases(Exception):
    """The plan allows no more of them."""

    def __init__(self, current: int, limit: int) -> None:
        super().__init__(f"{current} of {limit} databases")
        self.current = current
        self.limit = limit


async def create_fork(
    connection: AsyncConnection, *, organization: str, name: str | None, databases_max: int | None, now: int
) -> str:
    """Insert a fork's database and return its id; ``TooManyDatabases`` when the organization has as many as it may."""
    count = select(func.count()).select_from(databases).where(databases.c.organization_id == organization)
    current = (await connection.execute(count)).scalar_one()
    if databases_max is not None and current >= databases_max:
        raise TooManyDatabases(current, databases_max)
    database_id = new_id("db")
    await connection.execute(
        insert(databases).values(id=database_id, organization_id=organization, kind=FORK, name=name, created_at=now)
    )
    return database_id


async def remove_unfinished(connection: AsyncConnection, *, database: str | None = None) -> None:
    """Delete forks that never had a key, all or the one named: nobody was ever told of them."""
    with_keys = select(api_keys.c.database_id)
    unfinished = delete(databases).where(databases.c.kind == FORK, databases.c.id.not_in(with_keys))
    await connection.execute(unfinished if database is None else unfinished.where(databases.c.id == database))


async def plans(connection: AsyncConnection) -> dict[str, str]:
    """Return the plan of each database."""
    rows = await connection.execute(
        select(databases.c.id, organizations.c.plan).join(organizations, organizations.c.id == databases.c.organization_id)
    )
    return {row.id: row.plan for row in rows}
