"""The control group of a node's engines: what all of them together may take, so that what they take too much is theirs to lose.

The fork server enters it and engines are born in it; to move each one there would cost milliseconds. The kernel lets root make
a group where version 1 is mounted writable, or at the root of version 2; what can't be had is left out and named.

The processor needs no group: each engine leads a session, and the kernel weighs sessions alike, however many threads each has
(``sched_autogroup_enabled``).

Sources: ``Documentation/admin-guide/cgroup-v2.rst``, ``cgroup-v1/memory.rst``, ``cgroup-v1/pids.rst`` and ``sched(7)``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROCESSES_MAX = 65_536
"""Of all engines, threads among them: the machine has room for others."""

_LIMIT_FILES = {1: {"memory": "memory.limit_in_bytes", "pids": "pids.max"}, 2: {"memory": "memory.max", "pids": "pids.max"}}


@dataclass(frozen=True)
class _Hierarchy:
    """One mounted tree of groups: all controllers in version 2, each on its own in version 1."""

    version: int
    folder: Path
    """The group that this process is in."""
    controllers: frozenset[str]


def enter(data_folder: Path, *, memory_bytes_max: int) -> dict[str, str]:
    """Enter the group of this node's engines, made if need be. Return each limit, with why it is missing, or nothing if it
    holds."""
    name = _name(data_folder)
    limits = {"memory": str(memory_bytes_max), "pids": str(PROCESSES_MAX)}
    missing = dict.fromkeys(limits, "no control group for it can be made")
    for hierarchy in _hierarchies():
        wanted = hierarchy.controllers & limits.keys()
        if not wanted:
            continue
        with contextlib.suppress(OSError):
            group = hierarchy.folder / name
            group.mkdir(mode=0o755, exist_ok=True)
            if hierarchy.version == 2:
                with contextlib.suppress(OSError):  # they may be passed on already
                    (hierarchy.folder / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in sorted(wanted)))
            for controller in wanted:
                (group / _LIMIT_FILES[hierarchy.version][controller]).write_text(limits[controller])
            (group / "cgroup.procs").write_text(str(os.getpid()))
            missing |= dict.fromkeys(wanted, "")
    return missing | {"processor": _why_sessions_are_not_weighed()}


def leave(data_folder: Path) -> None:
    """Go back to where this process came from, and remove the group unless something still runs in it."""
    name = _name(data_folder)
    for hierarchy in _hierarchies():
        if hierarchy.folder.name == name:
            with contextlib.suppress(OSError):
                (hierarchy.folder.parent / "cgroup.procs").write_text(str(os.getpid()))
                hierarchy.folder.rmdir()


def _name(data_folder: Path) -> str:
    return f"engram-{hashlib.sha256(os.fsencode(data_folder)).hexdigest()[:12]}"


def _why_sessions_are_not_weighed() -> str:
    try:
        enabled = Path("/proc/sys/kernel/sched_autogroup_enabled").read_text().strip() == "1"
    except OSError:
        enabled = False
    return "" if enabled else "the kernel does not weigh sessions alike"


def _hierarchies() -> Iterator[_Hierarchy]:
    """Yield where this process is, in every hierarchy that can limit something."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        memberships = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return
    for mount in mounts:
        before, _, after = mount.partition(" - ")
        root, point = before.split()[3:5]
        kind, _, options = after.split(" ", 2)
        for _, names, path in memberships:
            own = Path(point) / os.path.relpath(path, root)
            if kind == "cgroup2" and names == "":
                with contextlib.suppress(OSError):
                    yield _Hierarchy(2, own, frozenset((own / "cgroup.controllers").read_text().split()))
            elif kind == "cgroup" and names and set(names.split(",")) <= set(options.split(",")):
                yield _Hierarchy(1, own, frozenset(names.split(",")))
