"""A process of the service, as the gateway is: with a key in its environment and sockets on which it gives something away.

``python -m tests.isolation.bystander`` prints one JSON line that says where it can be reached, and from then on a byte for each
signal that it gets.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.isolation.attack import new_canary
from tests.service import wait_until

_BUFFER_BYTES = 32
_LINE_BYTES_MAX = 4096


class Bystander:
    """That process, as the prover knows it. A context manager."""

    def __init__(self) -> None:
        self.key, self.secret = new_canary("key"), new_canary("socket")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.isolation.bystander", self.secret],
            env={"PATH": os.environ["PATH"], "ENGRAM_MASTER_KEY": self.key},
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        self.places: dict[str, Any] = json.loads(self._output.readline())
        os.set_blocking(self._output.fileno(), False)
        self.pid = self._process.pid
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(("127.0.0.1", 0))
        self.datagrams.setblocking(False)

    def __enter__(self) -> Bystander:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.datagrams.close()
        self._process.kill()
        self._process.wait()
        self._output.close()

    def heard(self) -> bytes:
        """Return the numbers of the signals that it got. The one that the prover sends comes last: then all are told."""
        self._process.send_signal(signal.SIGUSR2)
        heard = b""

        def is_told() -> bool:
            nonlocal heard
            heard += self._output.read(_LINE_BYTES_MAX) or b""
            return bytes([signal.SIGUSR2]) in heard

        wait_until(is_told)
        return heard.replace(bytes([signal.SIGUSR2]), b"")

    def buffer(self) -> bytes:
        """Return what is in the memory that may be spoilt."""
        with open(f"/proc/{self.pid}/mem", "rb", 0) as memory:
            memory.seek(self.places["buffer"])
            return memory.read(_BUFFER_BYTES)

    def is_stopped(self) -> bool:
        """Return whether it was stopped, and let it go on."""
        was_stopped = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        self._process.send_signal(signal.SIGCONT)
        return was_stopped

    def got_datagram(self) -> bool:
        """Return whether somebody has sent it a datagram."""
        try:
            return bool(self.datagrams.recv(4096))
        except BlockingIOError:
            return False


def main(secret: str) -> None:
    """Be that process."""
    text = ctypes.create_string_buffer(_BUFFER_BYTES)
    abstract = secret.replace("canary", "name")[:40]
    listening = [socket.socket(socket.AF_INET), socket.socket(socket.AF_UNIX)]
    listening[0].bind(("127.0.0.1", 0))
    listening[1].bind(f"\0{abstract}")
    selector = selectors.DefaultSelector()
    for each in listening:
        each.listen()
        selector.register(each, selectors.EVENT_READ)
    os.set_blocking(1, False)  # asked for by the wake-up descriptor
    signal.set_wakeup_fd(1, warn_on_full_buffer=False)
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGIO):
        signal.signal(number, lambda *_: None)
    places = {"buffer": ctypes.addressof(text), "tcp_port": listening[0].getsockname()[1], "abstract": abstract}
    os.write(1, json.dumps(places).encode() + b"\n")
    while True:
        for key, _ in selector.select():
            assert isinstance(key.fileobj, socket.socket)
            connection, _ = key.fileobj.accept()
            with connection:
                connection.sendall(secret.encode())


if __name__ == "__main__":
    main(sys.argv[1])
