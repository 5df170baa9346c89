"""How much memory this process's machine has, or the control group it runs in if that may have less. Bytes.

Sources: ``sysconf(3)``, ``cgroups(7)``, and the kernel's ``admin-guide/cgroup-v1/memory`` and ``cgroup-v2``. A container often
shows its group as the root of the hierarchy, and the name of the group as the outside knows it, which is not there inside:
hence every folder from that name up to the root is looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


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
