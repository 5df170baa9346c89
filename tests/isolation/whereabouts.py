"""Where the neighbour keeps its secret: in memory, among descriptors, on the disk. The prover looks, and tells the attacker."""

from __future__ import annotations

import ctypes
import re
import struct
from pathlib import Path

from tests.isolation.system import AT_FDCWD, buffer, call


def address_of(pid: int, secret: bytes) -> int:
    """Return where in the process's memory the secret lies, 0 where the prover may not look."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
        with open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for first, last in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) rw", maps, re.MULTILINE):
                memory.seek(int(first, 16))
                at = memory.read(int(last, 16) - int(first, 16)).find(secret)
                if at >= 0:
                    return int(first, 16) + at
    except OSError:
        return 0
    raise LookupError("the neighbour's secret is not in its memory")


def descriptor_of(pid: int, name: str) -> int:
    """Return under which number the process holds the file of that name open, -1 where the prover may not look."""
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            if entry.readlink().name == name:
                return int(entry.name)
    except PermissionError:
        return -1
    raise LookupError(f"the neighbour does not hold {name} open")


def handle_of(path: Path) -> bytes:
    handle = buffer(struct.pack("Ii", 128, 0) + bytes(128))
    call("name_to_handle_at", AT_FDCWD, str(path), handle, ctypes.byref(ctypes.c_int()), 0)
    return handle.raw
