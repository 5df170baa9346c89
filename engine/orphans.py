"""Engines that outlived their fork server.

One that was killed leaves engines behind that the kernel has told to end. They finish what is in flight and do; one that has
been taken over, or hangs, may not. It would keep its tenant's lock, and its memory, for ever, so the next fork server ends it
by force. An engine is known by its root, which is the tenant's folder: only root sees that, and only engines with users of
their own have it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import structlog

from engine.layout import TENANT
from engine.sandbox import users

_log = structlog.get_logger()

PATIENCE_S = 15.0
"""What a fork server that ends in order allows its engines, too."""


def kill(data_folder: Path) -> None:
    """End every engine of this node that is no child of this process."""
    for pid, tenant in list(_found(data_folder)):
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            # Asked again, now that the number can't pass to another process.
            if tenant == _tenant_of(pid, data_folder):
                _log.error("engine_killed", tenant=tenant, pid=pid, reason="it outlived its fork server")
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        except ProcessLookupError:
            continue
        finally:
            os.close(handle)


def _found(data_folder: Path) -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (tenant := _tenant_of(int(entry.name), data_folder)) is not None:
            yield int(entry.name), tenant


def _tenant_of(pid: int, data_folder: Path) -> str | None:
    """Return whose engine this process is, ``None`` if it is no orphan of this node."""
    try:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
        if not users.FIRST <= int(status["Uid"].split()[0]) <= users.LAST or int(status["PPid"]) == os.getpid():
            return None
        root = Path(f"/proc/{pid}/root").readlink()
    except (OSError, KeyError, ValueError):
        return None
    ours = root.parent.parent == data_folder / "tenants" and TENANT.fullmatch(root.name)
    return root.name if ours else None
