"""Looks over the tenants' folders: how many, how large. It follows no links and opens no file."""

from __future__ import annotations

import os
import time
from pathlib import Path

from engine.layout import TENANT
from tenants.replica.messages import ReplicaStatus


def scan(tenants_folder: Path) -> ReplicaStatus:
    """Return what is there now. What vanishes while it is looked at is not counted."""
    tenants = size = 0
    for shard in _folders(tenants_folder):
        for tenant in _folders(Path(shard.path)):
            if TENANT.fullmatch(tenant.name):
                tenants += 1
                size += _bytes_in(Path(tenant.path))
    return ReplicaStatus(replicating=False, tenants=tenants, bytes=size, scanned_at=time.time())


def _bytes_in(folder: Path) -> int:
    size = 0
    for entry in _entries(folder):
        try:
            if entry.is_file(follow_symlinks=False):
                size += entry.stat(follow_symlinks=False).st_size
            elif entry.is_dir(follow_symlinks=False) and entry.name == "outbox":
                size += _bytes_in(Path(entry.path))
        except OSError:
            continue
    return size


def _folders(folder: Path) -> list[os.DirEntry[str]]:
    return [entry for entry in _entries(folder) if entry.is_dir(follow_symlinks=False)]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
