"""Who asks an engine something: as we do, or as somebody careless who takes the descriptors that come along."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Self

from engine.address import connect

_READ_BYTES = 65536
_TIMEOUT_S = 1.0


class Reader:
    """A connection to an engine beside the one over which it is told what to do. A context manager."""

    def __init__(self, path: Path, *, naive: bool) -> None:
        self._naive = naive
        self._descriptors: list[int] = []
        self._connection = connect(path)
        self._connection.settimeout(_TIMEOUT_S)

    def __enter__(self) -> Self:
        # The greeting says that the engine knows of this connection.
        self._connection.recv(_READ_BYTES)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._connection.close()
        for descriptor in self._descriptors:
            os.close(descriptor)

    def received(self, folder: str) -> str:
        """Return which files of that folder have come to this process, or nothing."""
        if self._naive:
            _, self._descriptors, _, _ = socket.recv_fds(self._connection, _READ_BYTES, 4)
        else:
            self._connection.recv(_READ_BYTES)  # as asyncio's transports do
        files = [os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if entry.is_symlink()]
        return ", ".join(name for name in files if name.startswith(f"{folder}/"))
