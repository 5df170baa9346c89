"""Takes in a restored database at an engine's start: believes it, makes it ready, puts it in the place of the present one.

``restore.db`` in the folder says that there is one; ``restore.json`` beside it, that it has not been believed yet. Whatever
kills the engine on the way, the next one goes on:

    restore.json and restore.db    verify; if it is fit, write intake.json and remove restore.json, else remove both
    restore.db and intake.json     make it ready, write the position of history, remove the old log, rename it to memory.db
    intake.json                    end a quarantine, write restored.json, remove intake.json

A file that is refused leaves everything as it was. But an engine that was given the newest state there is, or the first of a
new database, does not serve another in its place: it ends, and the host asks again what it is to start from.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import structlog

from engine.capture.outbox import Outbox
from engine.capture.position_file import PositionFile, sync_folder
from engine.captured import Position
from engine.catalogue.lifecycle import QUARANTINE_FILE
from engine.catalogue.recovery import INTAKE_JOURNAL, PREVIEW_DATABASE, RESTORE_DATABASE, RESTORE_NOTE, Restored, RestoreNote
from engine.folder import forget_due
from engine.intake import inheritance, records
from engine.intake.records import Journal
from engine.intake.verification import Unfit, remove_log, verify
from engine.store.quarantine import is_damage

_log = structlog.get_logger()

_PREVIEW_S_MAX = 3600
"""A comparison takes seconds. What is older was left by an engine that was killed, and by a caller that has given up."""

_REASON_CHARACTERS_MAX = 500
"""What ``Restored.error`` may hold."""


class NotTakenIn(Exception):
    """The restored database was refused, and no other may be served in its place."""


def take_in(folder: Path) -> None:
    """Take in ``restore.db`` where there is one; called under the folder's lock, before anything in it is opened.

    ``NotTakenIn`` when there is nothing to be served then. After any other error, such as a full disk, the next start goes on.
    """
    _drop_old_preview(folder)
    if os.path.lexists(folder / RESTORE_DATABASE):
        note = records.read_note(folder)
        try:
            _replace(folder, _believed(folder, note))
        except Exception as error:
            if not isinstance(error, Unfit) and not is_damage(error):
                raise
            _refuse(folder, note, error)
            return
    journal = records.read_journal(folder)
    if journal is not None:
        _finish(folder, journal)


def _believed(folder: Path, note: RestoreNote | None) -> Journal:
    """Return what is known of the restored file; verify it, unless that was done before."""
    restored, journal = folder / RESTORE_DATABASE, records.read_journal(folder)
    if journal is not None and not os.path.lexists(folder / RESTORE_NOTE):
        return journal
    records.remove(folder, INTAKE_JOURNAL)  # of a file that this one has replaced
    remove_log(restored)
    if note is None:
        raise Unfit("nothing says what it is")
    if note.kind == "fork" and os.path.lexists(folder / "memory.db"):
        raise Unfit("a fork is a new database, and there is one already")
    verified = verify(restored, note)
    journal = Journal(note=note, first_page=verified.first_page, memories=verified.memories)
    records.write_journal(folder, journal)
    records.remove(folder, RESTORE_NOTE)
    return journal


def _replace(folder: Path, journal: Journal) -> None:
    """Make the restored file ready, and put it in the place of the present one."""
    note, present, restored = journal.note, folder / "memory.db", folder / RESTORE_DATABASE
    if note.kind == "same":
        Outbox(folder).empty()  # files of a history that the object store has left behind
        _write_position(folder, _position_of(journal))
    else:
        is_fork = note.kind == "fork"
        if not is_fork:
            inheritance.end_history(present)
        memories = inheritance.settle(restored, present=None if is_fork else present, is_fork=is_fork)
        records.write_journal(folder, msgspec.structs.replace(journal, memories=memories))
        _write_position(folder, _position_before(folder, note))
    remove_log(present)  # before the rename: SQLite would take it for the log of the file that comes
    sync_folder(folder)
    restored.rename(present)
    sync_folder(folder)


def _finish(folder: Path, journal: Journal) -> None:
    forget_due(folder)
    records.remove(folder, QUARANTINE_FILE)
    records.write_outcome(folder, Restored(id=journal.note.id, memories=journal.memories))
    records.remove(folder, INTAKE_JOURNAL)
    _log.info("restored_database_taken_in", kind=journal.note.kind, memories=journal.memories)


def _refuse(folder: Path, note: RestoreNote | None, error: Exception) -> None:
    """Remove the restored file and say why; ``NotTakenIn`` where the present one may not be served instead."""
    journal = records.read_journal(folder)
    note = note or (journal.note if journal is not None else None)
    reason = str(error) if isinstance(error, Unfit) else f"it is damaged: {type(error).__name__}"
    _log.error("restored_database_refused", reason=reason)
    if note is not None:
        records.write_outcome(folder, Restored(id=note.id, error=reason[:_REASON_CHARACTERS_MAX]))
    remove_log(folder / RESTORE_DATABASE)
    records.remove(folder, RESTORE_DATABASE, RESTORE_NOTE, INTAKE_JOURNAL)
    if note is None or note.kind != "earlier" or not os.path.lexists(folder / "memory.db"):
        raise NotTakenIn(reason)


def _position_of(journal: Journal) -> Position:
    """Return the position from which history goes on with increments: the file is what the object store holds."""
    note = journal.note
    return Position(
        serial=0,
        txid=note.txid,
        timestamp_ms=note.timestamp_ms,
        page_bytes=note.page_bytes,
        pages=note.pages,
        checksum=note.checksum,
        first_page=journal.first_page,
    )


def _position_before(folder: Path, note: RestoreNote) -> Position:
    """Return the position from which it goes on with a file that holds the whole database."""
    if note.kind == "fork":
        return Position(serial=0, txid=0, whole_next=True)
    with PositionFile(folder) as file:
        present = file.read() or Position(serial=0, txid=note.txid, timestamp_ms=note.timestamp_ms)
    return msgspec.structs.replace(present, salts=(0, 0), frames=0, log_checksum=(0, 0), whole_next=True)


def _write_position(folder: Path, position: Position) -> None:
    with PositionFile(folder) as file:
        file.write(position)


def _drop_old_preview(folder: Path) -> None:
    preview = folder / PREVIEW_DATABASE
    if preview.exists() and time.time() - preview.stat().st_mtime > _PREVIEW_S_MAX:
        remove_log(preview)
        preview.unlink()
