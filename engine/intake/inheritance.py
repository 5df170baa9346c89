"""What passes from the database that is replaced to the one that was restored: what was purged stays purged, no id is given out
twice, and history has no gap between the two.

The replaced one may be damaged, which may be why it is replaced: then it gives what can be read. Each step is a transaction
of its own and may be carried out twice, so whoever is killed begins again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import structlog

from engine.capture import Capture
from engine.capture.live_files import log_path
from engine.capture.position_file import PositionFile
from engine.catalogue.recovery import Purge
from engine.intake.verification import count
from engine.store import purges
from engine.store.connection import open_reader
from engine.store.database import Database
from engine.store.quarantine import is_damage

_log = structlog.get_logger()

PURGES_AT_ONCE = 500
"""In one transaction: half a second's work if all of them are here, and nobody waits for anything else."""

NUMBERED = ("memories", "imports")
"""The tables whose ids were told to somebody."""

_HIGHEST = "SELECT seq FROM sqlite_sequence WHERE name = ?"
_FORGET_REQUESTS = "DELETE FROM idempotent_requests"

_T = TypeVar("_T")


class LogNotEmptied(Exception):
    """The restored database could not be closed without a log beside it."""


def end_history(present: Path) -> None:
    """Capture what a killed engine has left in the log of the database that is replaced, so that the way back leads there.

    Not where nothing is captured, or all of it was to be captured anew.
    """
    with PositionFile(present.parent) as file:
        position = file.read()
    if position is None or position.whole_next or not (present.exists() and log_path(present).exists()):
        return
    try:
        with Database(present, capture=Capture(present.parent)):
            pass  # its end is what an engine's end is
    except Exception as error:
        _note_damage(error)


def settle(restored: Path, *, present: Path | None, is_fork: bool) -> int:
    """Make the restored database ready to be served in place of ``present``; return how many memories it holds.

    A fork forgets what the database that it comes from was asked: nobody has asked it anything. What can't be read of
    ``present`` is left out, with a line in the log. Errors are those of the restored file, which has no log afterwards.
    """
    with Database(restored) as database:
        if is_fork:
            with database.write_group():
                database.connection.execute(_FORGET_REQUESTS)
        if present is not None and present.exists():
            _inherit(database, present)
        if not database.checkpoints.run():
            raise LogNotEmptied(restored.name)
        return count(database.connection)


def _inherit(database: Database, present: Path) -> None:
    for table, highest in _until_damaged(_highest_ids(present)):
        with database.write_group():
            purges.reserve_ids(database.connection, table, highest)
    erased = 0
    for page in _until_damaged(_purges(present)):
        with database.write_group():
            erased += sum(purges.carry(database.connection, page))
            database.note_purge()
    _log.info("purges_carried_forward", erased=erased)


def _highest_ids(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the highest id that each numbered table has given out."""
    with contextlib.closing(open_reader(path)) as present:
        if present.table_exists(None, "sqlite_sequence"):
            for table in NUMBERED:
                if (highest := present.execute(_HIGHEST, (table,)).get) is not None:
                    yield table, highest


def _purges(path: Path) -> Iterator[list[Purge]]:
    with contextlib.closing(open_reader(path)) as present:
        if present.table_exists(None, "purges"):
            yield from purges.pages(present, PURGES_AT_ONCE)


def _until_damaged(found: Iterator[_T]) -> Iterator[_T]:
    """Pass on what is read of the database that is replaced, up to where it is damaged, which may be why it is replaced."""
    try:
        yield from found
    except Exception as error:
        _note_damage(error)


def _note_damage(error: Exception) -> None:
    if not is_damage(error):
        raise error
    _log.error("present_database_damaged", error=type(error).__name__)
