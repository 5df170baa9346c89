"""Files beneath a folder in the order in which S3 lists keys: by their whole names' bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tenants.replica.objects import Listed
from tenants.replica.stores.keys import is_key


def walk(root: Path, prefix: str, *, after: str = "") -> Iterator[Listed]:
    """Yield the files whose keys begin with ``prefix`` and come behind ``after``. What comes before is not looked into.

    A folder's names are read at once, since the system gives them in no order; the files themselves one by one.
    """
    folder = prefix.rpartition("/")[0]
    yield from _within(root, f"{folder}/" if folder else "", prefix, after)


def _within(root: Path, folder: str, prefix: str, after: str) -> Iterator[Listed]:
    for key in _keys(root, folder, prefix, after):
        if key.endswith("/"):
            yield from _within(root, key, prefix, after)
            continue
        try:
            status = os.lstat(root / key)
        except FileNotFoundError:  # it was removed meanwhile
            continue
        # When it got its name, not the time of its last change: that one is Litestream's.
        yield Listed(key=key, size=status.st_size, modified_ms=status.st_ctime_ns // 1_000_000)


def _keys(root: Path, folder: str, prefix: str, after: str) -> list[str]:
    """Return the keys right in a folder, and the folders in it with a slash behind, as far as they matter, in order."""
    found = []
    try:
        with os.scandir(root / folder) as entries:
            for entry in entries:
                key = folder + entry.name
                if entry.is_dir(follow_symlinks=False):
                    matters = f"{key}/" > after or after.startswith(f"{key}/")
                else:
                    matters = key > after and entry.is_file(follow_symlinks=False)
                if matters and key.startswith(prefix) and is_key(key):  # others are our own files, or a stranger's
                    found.append(f"{key}/" if entry.is_dir(follow_symlinks=False) else key)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found)
