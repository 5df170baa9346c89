"""Opens the control plane's database and brings it to the present schema.

SQLite has one connection: the interpreter's SQLite may still hold the WAL-reset bug, which needs two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_MIGRATIONS = Path(__file__).parent / "migrations"


async def open_database(url: str) -> AsyncEngine:
    """Return an engine for ``url`` (``sqlite+aiosqlite:///…``), its schema up to date."""
    engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=10, hide_parameters=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _configure_sqlite)
        event.listen(engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    async with engine.begin() as connection:
        await connection.run_sync(_migrate)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # The driver would commit before every CREATE TABLE; a migration that was killed half-way would then stay half done.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "busy_timeout = 5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
