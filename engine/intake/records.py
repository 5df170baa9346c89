"""The small files that tell of a restore: the note that comes with it, how far it has got, and what became of it.

``restore.json`` is what the restored file is said to be. ``intake.json`` is there from the moment the file was believed until
it is in its place: whoever finds it goes on from there, and asks for no proof any more, which a file that has been changed
could not give. ``restored.json`` is for the host.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from engine.capture.position_file import sync_folder
from engine.catalogue.recovery import INTAKE_JOURNAL, RESTORE_NOTE, RESTORE_NOTE_BYTES_MAX, RESTORED_FILE, Restored, RestoreNote

_JOURNAL_BYTES_MAX = 2 * RESTORE_NOTE_BYTES_MAX

_T = TypeVar("_T")


class Journal(msgspec.Struct, kw_only=True):
    """What ``intake.json`` holds: a restored file that was found to be what its note says."""

    note: RestoreNote
    first_page: int
    """Checksum of its first page, as it came."""
    memories: int


def read_note(folder: Path) -> RestoreNote | None:
    """Return what was said of the restored file; ``None`` when that is nothing, or nonsense."""
    return _read(folder / RESTORE_NOTE, RestoreNote, RESTORE_NOTE_BYTES_MAX)


def read_journal(folder: Path) -> Journal | None:
    """Return which restored file has been believed and is not served yet."""
    return _read(folder / INTAKE_JOURNAL, Journal, _JOURNAL_BYTES_MAX)


def write_journal(folder: Path, journal: Journal) -> None:
    """Note it, so that it lasts."""
    _write(folder / INTAKE_JOURNAL, journal)


def write_outcome(folder: Path, outcome: Restored) -> None:
    """Leave word for the host."""
    _write(folder / RESTORED_FILE, outcome)


def remove(folder: Path, *names: str) -> None:
    """Remove these files where they are, for good."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
    sync_folder(folder)


def _read(path: Path, kind: type[_T], bytes_max: int) -> _T | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(os.read(descriptor, bytes_max), type=kind)
    except (ValueError, RecursionError):
        return None
    finally:
        os.close(descriptor)


def _write(path: Path, value: Any) -> None:
    draft = path.with_name(f"{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(draft, flags, 0o640), "wb") as file:
        file.write(msgspec.json.encode(value))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)
