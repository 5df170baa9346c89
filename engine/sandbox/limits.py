"""What one engine may use of the machine: memory, descriptors, threads; and no core dumps, which would hold what it knows."""

from __future__ import annotations

import resource
from pathlib import Path

MEGABYTE = 1024 * 1024

DESCRIPTORS_MAX = 1024
"""A connection takes one, an export three; a gateway keeps one connection to each engine and one for each transfer."""

THREADS_MAX = 64
"""Of one user, and so only where the engine has a user of its own."""

FILE_BYTES_MAX = 64 * 1024**3
"""Of one file: more than the largest plan may store. How many files there are, only a quota of the file system could bound."""

OOM_SCORE = 500
"""When memory runs out, the kernel ends an engine before the parts that all tenants share: an engine comes back."""


def apply(*, address_space_bytes: int, memory_max_mb: int, own_user: bool) -> None:
    """Limit this process. ``memory_max_mb`` is what it may take beyond the ``address_space_bytes`` that it was forked with."""
    here = address_space_bytes + memory_max_mb * MEGABYTE
    for kind, limit in (
        (resource.RLIMIT_AS, here),
        (resource.RLIMIT_NOFILE, DESCRIPTORS_MAX),
        (resource.RLIMIT_FSIZE, FILE_BYTES_MAX),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_RTPRIO, 0),
        *([(resource.RLIMIT_NPROC, THREADS_MAX)] if own_user else []),
    ):
        _, hard = resource.getrlimit(kind)
        allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (allowed, allowed))
    Path("/proc/self/oom_score_adj").write_text(f"{OOM_SCORE}\n")


def address_space_bytes() -> int:
    """Return how much address space this process takes now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
