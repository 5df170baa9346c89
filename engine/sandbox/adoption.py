"""Moves a restored database from where the replicator has put it into a tenant's folder, and gives it to the tenant's user.

    <data>/staging/<name>/restore.json, memory.db    the service's
    <data>/tenants/<shard>/<tenant>/restore.json, then restore.db, or preview.db alone    the tenant's, 0600

Whoever does this may be root, and stands between two strangers: the service's user may put anything into ``staging``, the
tenant's into its folder. So nothing is named by a path. Folders are opened one beneath the other, without following links; a
file is opened, looked at and given away through its descriptor, and moved by its name. If another file has taken the name
meanwhile, that one has only been moved from one stranger to the other, with the owner it had, and is taken away again.

Nothing is read or synced here, because the fork server has no time: the engine does both before it believes the file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from engine.catalogue.recovery import PREVIEW_DATABASE, RESTORE_DATABASE, RESTORE_NOTE, STAGED_DATABASE, STAGED_NOTE
from engine.protocol.errors import invalid
from engine.protocol.processes import Adopt
from engine.sandbox.users import Folders, Service, open_folder

STAGING = "staging"
"""Beneath the data folder, the service's."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

_OPEN_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Without waiting for anybody: the name may be a pipe's."""

_RESTORE = ((STAGED_NOTE, RESTORE_NOTE), (STAGED_DATABASE, RESTORE_DATABASE))
"""In this order: where the database is, its note is."""

_PREVIEW = ((STAGED_DATABASE, PREVIEW_DATABASE),)

_LEFT_BEHIND = (STAGED_NOTE, STAGED_DATABASE, f"{STAGED_DATABASE}-wal", f"{STAGED_DATABASE}-shm", "engine.lock")
"""What may still lie in the staging folder: the note of a preview, and what a check of the database has made."""


def adopt(data_folder: Path, service: Service | None, folders: Folders, arguments: Adopt) -> None:
    """Move the staged files, and remove their folder.

    ``invalid`` for what is no name; ``OSError`` when something is missing, or not what it should be. Then the staging folder is
    left, and the tenant's has a note without a database at most, which says nothing.
    """
    if not _NAME.fullmatch(arguments.staged):
        raise invalid("staged", "not the name of a staging folder")
    owner = os.geteuid() if service is None else service.uid
    moves = _PREVIEW if arguments.preview else _RESTORE
    with (
        open_folder(data_folder) as data,
        open_folder(STAGING, data) as staging,
        open_folder(arguments.staged, staging) as source,
        contextlib.ExitStack() as files,
    ):
        found = [files.enter_context(_opened_file(name, source, owner)) for name, _ in moves]
        target, user = files.enter_context(folders.opened(arguments.tenant))
        for file in found:
            if service is not None and user is not None:
                os.fchown(file, user, service.gid)
            os.fchmod(file, 0o600)
        for (name, new_name), file in zip(moves, found, strict=True):
            _move(name, source, new_name, target, file)
        for name in _LEFT_BEHIND:
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                os.unlink(name, dir_fd=source)
        with contextlib.suppress(OSError):  # whatever else lies in it is the service's to take away
            os.rmdir(arguments.staged, dir_fd=staging)


@contextlib.contextmanager
def _opened_file(name: str, folder: int, owner: int) -> Iterator[int]:
    """Yield a descriptor of a plain file of the owner's that has no other name; ``OSError`` for anything else."""
    descriptor = os.open(name, _OPEN_FILE, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != owner or status.st_nlink != 1:
            raise OSError(errno.EPERM, "not a plain file of the service's", name)
        yield descriptor
    finally:
        os.close(descriptor)


def _move(name: str, source: int, new_name: str, target: int, file: int) -> None:
    """Move a file by its name, and have it there after a power cut; ``OSError`` if the name was no longer that ``file``'s."""
    os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)
    moved = os.stat(new_name, dir_fd=target, follow_symlinks=False)
    if not os.path.samestat(moved, os.fstat(file)):
        with contextlib.suppress(OSError):
            os.unlink(new_name, dir_fd=target)
        raise OSError(errno.EBUSY, "exchanged meanwhile", name)
    os.fsync(target)
