"""System V and POSIX objects that hold a secret of the service's. Any process may ask for them by their numbers or name."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct

from tests.isolation.attack import new_canary
from tests.isolation.system import buffer, call

_IPC_CREAT, _IPC_RMID = 0o1000, 0
_IPC_PRIVATE = 0
_BYTES = 256


class KernelObjects:
    """Makes them and takes them away again. A context manager."""

    def __init__(self) -> None:
        self.secret = new_canary("shared")
        text = self.secret.encode()
        self.shared_memory = call("shmget", _IPC_PRIVATE, _BYTES, _IPC_CREAT | 0o600)
        at = call("shmat", self.shared_memory, 0, 0)
        ctypes.memmove(at, text, len(text))
        self.message_queue = call("msgget", _IPC_PRIVATE, _IPC_CREAT | 0o600)
        call("msgsnd", self.message_queue, buffer(struct.pack("q", 1) + text), len(text), 0)
        self.semaphore = call("semget", _IPC_PRIVATE, 1, _IPC_CREAT | 0o600)
        self.posix_queue = f"engram-{os.getpid()}-{id(self)}"
        attributes = buffer(struct.pack("qqqq", 0, 1, _BYTES, 0).ljust(64, b"\0"))
        queue = call("mq_open", self.posix_queue, os.O_CREAT | os.O_WRONLY, 0o600, attributes)
        call("mq_timedsend", queue, text, len(text), 0, 0)
        os.close(queue)

    def __enter__(self) -> KernelObjects:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for name, *arguments in (
            ("shmctl", self.shared_memory, _IPC_RMID, 0),
            ("msgctl", self.message_queue, _IPC_RMID, 0),
            ("semctl", self.semaphore, 0, _IPC_RMID, 0),
            ("mq_unlink", self.posix_queue),
        ):
            with contextlib.suppress(OSError):
                call(name, *arguments)
