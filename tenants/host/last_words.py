"""What engines leave in their folders for the host: when to wake them, that their database is set aside, what became of a
restore, and how far they have captured.

An engine writes what it likes into its folder, so this is read as a stranger's (``tenants.untrusted``), and what can't be
understood counts as nothing said.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine.captured import CAPTURED_FILE, FILE_BYTES, decode
from engine.catalogue.lifecycle import DUE_BYTES_MAX, DUE_FILE, QUARANTINE_FILE, Due
from engine.catalogue.recovery import INTAKE_JOURNAL, RESTORE_DATABASE, RESTORED_BYTES_MAX, RESTORED_FILE, Restored
from engine.layout import TENANT
from engine.ltx.limits import TIMESTAMP_MS_MAX, TXID_MAX
from tenants.untrusted import Folder, Refused

_decoder = msgspec.json.Decoder(Due)
_restored_decoder = msgspec.json.Decoder(Restored)


def tenants_on_disk(data_folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield each tenant that has a folder on this node, with the folder. What vanishes meanwhile is left out."""
    for shard in _folders(data_folder / "tenants"):
        for tenant in _folders(Path(shard.path)):
            if TENANT.fullmatch(tenant.name):
                yield tenant.name, Path(tenant.path)


def due(folder: Path) -> Due | None:
    """Return what the engine said last; ``None`` when it said nothing, was killed, or talks nonsense."""
    try:
        with Folder(folder) as opened:
            return _decoder.decode(opened.read(DUE_FILE, bytes_max=DUE_BYTES_MAX))
    except (Refused, ValueError, RecursionError):  # msgspec's errors are ValueErrors, as is bad UTF-8
        return None


def is_quarantined(folder: Path) -> bool:
    """Whether the database is set aside. Whatever bears the marker's name is one: nothing is read."""
    return os.path.lexists(folder / QUARANTINE_FILE)


def is_restore_pending(folder: Path) -> bool:
    """Whether a restored database waits for the engine's next start, or was half taken in: that ends a quarantine."""
    return any(os.path.lexists(folder / name) for name in (RESTORE_DATABASE, INTAKE_JOURNAL))


def is_at_rest(folder: Path) -> bool:
    """Whether a database that no engine serves has all that was committed captured, and nothing to take in."""
    has_database = os.path.lexists(folder / "memory.db")
    return not is_restore_pending(folder) and (not has_database or due(folder) is not None)


def restored(folder: Path) -> Restored | None:
    """Return what became of the last restore, as the engine says; ``None`` when it says nothing, or nonsense."""
    try:
        with Folder(folder) as opened:
            return _restored_decoder.decode(opened.read(RESTORED_FILE, bytes_max=RESTORED_BYTES_MAX))
    except (Refused, ValueError, RecursionError):
        return None


def captured(folder: Path) -> tuple[int, int]:
    """Return the last transaction that the engine has captured, and when, milliseconds since 1970; zeros if it does not say."""
    try:
        with Folder(folder) as opened:
            position = decode(opened.read(CAPTURED_FILE, bytes_max=FILE_BYTES))
    except Refused:
        position = None
    if position is None or not (0 <= position.txid <= TXID_MAX and 0 <= position.timestamp_ms <= TIMESTAMP_MS_MAX):
        return 0, 0
    return position.txid, position.timestamp_ms


def _folders(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
