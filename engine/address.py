"""How a Unix socket is named when its path is too long for the kernel.

``sun_path`` holds 107 bytes, a data folder's path may hold 4,096. Linux resolves ``/proc/self/fd/N/name`` through an open
descriptor of the folder, which is short however deep the folder lies.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from engine.protocol.limits import SOCKET_PATH_BYTES_MAX


@contextlib.contextmanager
def short_address(path: Path) -> Iterator[str]:
    """Yield an address of ``path`` that fits ``sun_path``. It is valid inside the block only."""
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listen(path: Path, *, backlog: int = 512) -> socket.socket:
    """Return a listening socket at ``path``, replacing a stale one. The caller owns the folder and so the name.

    What is found under that name is listened at: it gets it last.
    """
    draft = path.with_name(f".{path.name}")
    draft.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        mask = os.umask(0o177)  # not changed afterwards: under that name there may be something else by then
        try:
            with short_address(draft) as address:
                listening.bind(address)
        finally:
            os.umask(mask)
        listening.listen(backlog)
        listening.setblocking(False)
        draft.replace(path)
    except BaseException:
        listening.close()
        raise
    return listening


def connect(path: Path) -> socket.socket:
    """Return a socket connected to ``path``, non-blocking from then on. ``OSError`` when nobody listens there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.setblocking(False)
        with short_address(path) as address:
            connection.connect(address)  # a Unix socket connects at once, or fails with EAGAIN when the backlog is full
    except BaseException:
        connection.close()
        raise
    return connection
