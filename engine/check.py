"""Checks a database in a process of its own, while no engine serves it: ``python -m engine.check FOLDER [--release]``.

The folder is a tenant's, or one in which the replicator has restored a database to see whether it can be. This program confines
itself as an engine is, to the folder and to its owner, because it reads what an engine has written. It takes the folder's lock,
so that no engine starts meanwhile, changes nothing, and prints its report as one JSON object. With ``--release``, a database in
quarantine that is found sound is let out. Exit status: 0 sound, 1 not, 2 could not check; then only the reason is printed, to
standard error.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import apsw
import msgspec

from engine import log
from engine.capture.wal import LogDamaged
from engine.catalogue.lifecycle import CheckReport
from engine.folder import FolderInUse, FolderLock
from engine.sandbox import Box, find_out, privileges
from engine.sandbox.users import service_of
from engine.store import integrity
from engine.store.checkpoint import examine
from engine.store.connection import open_reader, preload, seed_randomness
from engine.store.quarantine import Quarantine, is_damage

COULD_NOT_CHECK = 2

_MEMORY_MAX_MB = 2048
"""SQLite's check of a large file keeps a note of each page."""


def check(path: Path) -> CheckReport:
    """Return what is wrong with the database at ``path``, which nobody else may have open. Where there is none, nothing is."""
    if not path.exists():
        return CheckReport()
    try:
        examine(path)
        connection = open_reader(path)
        try:
            report, _ = integrity.check(connection, path, alone=True)
        finally:
            connection.close()
    except apsw.SQLError:
        return CheckReport(problems=["its tables are not those of its schema"])
    except (apsw.Error, LogDamaged) as error:
        if not is_damage(error):
            raise
        return CheckReport(problems=[f"damaged: {type(error).__name__}"])
    return report


def _confined(folder: Path) -> Path:
    """Confine this process to ``folder``, as its owner if it may be; return where it finds it then."""
    user = folder.stat().st_uid if service_of(None) is not None else None
    privileges.empty_bounding_set()
    confinement, _ = find_out(own_users=user is not None)
    seed_randomness()
    return confinement.apply(Box(folder=folder, user=user, memory_max_mb=_MEMORY_MAX_MB, parent=os.getppid()))


def run(folder: Path, *, release: bool) -> int:
    """Check one folder, print the report and return the exit status."""
    try:
        with FolderLock(folder, wait_s=0):
            report = check(folder / "memory.db")
            if release and not report.problems:
                Quarantine(folder).leave()
    except FolderInUse:
        print("an engine serves it", file=sys.stderr)
        return COULD_NOT_CHECK
    except (apsw.Error, OSError) as error:
        print(f"it can't be checked: {type(error).__name__}", file=sys.stderr)
        return COULD_NOT_CHECK
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    return 1 if report.problems else 0


def main(arguments: list[str]) -> int:
    """Confine this process for good, check the folder that is named and return the exit status."""
    log.configure("check")
    preload()
    return run(_confined(Path(arguments[0])), release="--release" in arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
