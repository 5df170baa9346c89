"""Numbered SQL files bring a database to this program's schema. ``PRAGMA user_version`` holds the last one applied."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw

_FOLDER = Path(__file__).parent / "migrations"
_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


class SchemaTooNew(Exception):
    """The file was written by a newer program. Opening it could damage what this one doesn't know."""


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One step. It runs in a transaction together with the change of ``user_version``."""

    number: int
    sql: str


def load(folder: Path = _FOLDER) -> tuple[Migration, ...]:
    """Return the migrations in order; their numbers must run from 1 without a gap."""
    migrations: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None or int(match[1]) != len(migrations) + 1:
            raise ValueError(f"{path.name} is not migration number {len(migrations) + 1}")
        migrations.append(Migration(number=int(match[1]), sql=path.read_text(encoding="utf-8")))
    return tuple(migrations)


MIGRATIONS = load()


def migrate(connection: apsw.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Apply what is missing. ``SchemaTooNew`` when the file is ahead of us."""
    version = connection.pragma("user_version")
    if version > len(migrations):
        raise SchemaTooNew(f"the database has schema {version}, this program knows up to {len(migrations)}")
    for migration in migrations[version:]:
        with connection:
            connection.execute(migration.sql)
            connection.pragma("user_version", migration.number)
