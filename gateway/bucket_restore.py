"""``engram admin restore``: a database written to a file, from the object store alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from engine.protocol.moment import from_datetime, to_text
from gateway.bucket import Failed, check_database, opened
from tenants.replica.history.failures import NothingToRestore
from tenants.replica.history.rebuild import rebuild
from tenants.replica.trees import Trees


def restore(environment: Mapping[str, str], database: str, *, at: str | None, to: Path) -> None:
    """Write a database to the new file ``to``, as it was at a moment, or as the store last has it. ``Failed``."""
    check_database(database)
    at_ms = None if at is None else _milliseconds(at)
    if to.exists():
        raise Failed(f"{to} exists; it is not overwritten")
    try:
        with (
            opened(environment) as (store, master_key),
            tempfile.TemporaryDirectory(prefix=".engram-", dir=to.parent) as folder,
        ):
            draft = Path(folder) / "memory.db"
            rebuilt = rebuild(Trees(store, master_key, Path(folder)).of(database), draft, at_ms=at_ms)
            os.link(draft, to)  # unlike a rename it never replaces what somebody has put there meanwhile
    except NothingToRestore as error:
        if error.earliest_ms is None:
            raise Failed(f"the store has nothing of {database}") from error
        earliest = to_text(1000 * error.earliest_ms)
        raise Failed(f"the store has nothing of {database} from then; the first moment there is, is {earliest}") from error
    except OSError as error:
        raise Failed(f"{to}: {error.strerror or error}") from error
    click.echo(f"{to}: {rebuilt.pages * rebuilt.page_bytes:,} bytes, as of {to_text(1000 * rebuilt.timestamp_ms)}.")
    for avoided in rebuilt.avoided:
        click.echo(f"  did without {avoided}")


def _milliseconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise Failed(f"--at {text}: say the time zone, Z for UTC")
        return from_datetime(moment.astimezone(UTC)) // 1000
    except (ValueError, OverflowError) as error:
        raise Failed(f"--at {text}: not a time such as 2026-03-21T12:52:55Z") from error
