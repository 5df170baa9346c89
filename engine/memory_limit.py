"""How much memory this process's machine has, or the control group it runs in if that may have less, and the engines' part.
Bytes.

Sources: ``sysconf(3)``, ``cgroups(7)``, and the kernel's ``admin-guide/cgroup-v1/memory`` and ``cgroup-v2``. A container often
shows its group as the root of the hierarchy, and the name of the group as the outside knows it, which is not there inside:
hence every folder from that name up to the root is looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_MB = 1024 * 1024

_ENGINES_SHARE = 0.5
"""Of the machine. The other half is for the gateway, the embedding model, and above all for the pages of databases that the
kernel keeps, which belong to no process."""


def engines_memory_bytes(setting_mb: str) -> int:
    """Return what all engines together may hold: what is set, or half of what may be used for an empty setting."""
    return int(float(setting_mb) * _MB) if setting_mb else int(memory_limit_bytes() * _ENGINES_SHARE)


def memory_limit_bytes(root: Path = Path("/")) -> int:
    """Return what may be used. ``root`` is where ``proc`` and ``sys`` are."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_group_limits(root)])


def _group_limits(root: Path) -> Iterator[int]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux, or no groups
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            mounts, name = ["sys/fs/cgroup", "sys/fs/cgroup/unified"], "memory.max"
        elif "memory" in controllers.split(","):
            mounts, name = ["sys/fs/cgroup/memory"], "memory.limit_in_bytes"
        else:
            continue
        for mount in mounts:
            folder = Path(group.lstrip("/"))
            for ancestor in (folder, *folder.parents):
                limit = _number(root / mount / ancestor / name)
                if limit is not None:
                    yield limit


def _number(path: Path) -> int | None:
    """Return the number in a file; ``None`` for ``max`` and where there is no such file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
