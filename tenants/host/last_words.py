"""What engines leave in their folders for the host: when to wake them, and that their database is set aside.

An engine writes what it likes into its folder, so this is read as a stranger's (``tenants.untrusted``), and what can't be
understood counts as nothing said.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine.catalogue.lifecycle import DUE_BYTES_MAX, DUE_FILE, QUARANTINE_FILE, Due
from engine.layout import TENANT
from tenants.untrusted import Folder, Refused

_decoder = msgspec.json.Decoder(Due)


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


def _folders(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
