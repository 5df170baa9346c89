"""What engines leave in their outboxes and say on their sockets, read by our own readers and by naive ones.

``python -m tests.isolation.strangers`` prints what became of each as JSON. Each reader is a process of its own with little
memory and little time: one that waits for ever, or eats all there is, is harmed and not the prover.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import structlog

from engine.catalogue.memory import Memory
from engine.client import Client
from engine.protocol import RemoteError
from engine.sandbox.limits import address_space_bytes
from tenants.replica import outbox
from tenants.replica.outbox import OUTBOX
from tenants.untrusted import Folder, Refused
from tests.isolation import outbox_attacks
from tests.isolation.attack import Attack, new_canary
from tests.isolation.compromised import Outcome
from tests.tenants.impostor import EVERYTHING, impostor

HARMLESS = {"a_link_to_itself", "a_socket", "a_folder"}
"""No reader can open these: they are no attacks on one."""

FRAMES = (
    "a_length_over_the_limit",
    "a_huge_length_and_nothing",
    "no_greeting",
    "an_answer_before_the_greeting",
    "silence",
    "half_a_frame",
    "nested_arrays",
    "another_type",
    "an_answer_to_nobody",
    "an_answer_to_a_negative_id",
    "chunks_for_a_call",
    "an_answer_of_nothing",
    "greetings_for_ever",
    "farewells_for_ever",
)
"""Those that deceive, hold up or exhaust a reader that believes what it reads."""

MEMORY_BYTES = 256 * 1024 * 1024
NAIVE_WAIT_S, OUR_WAIT_S = 3, 60
"""The naive one is given up soon; ours is to have no excuse."""

_DEADLINE_MS = 500

_LAYER = "readers that believe nothing"

Reader = Callable[[], str]
"""Returns the harm that was done to it, or nothing."""


def attack(name: str) -> Attack:
    """Return what a row says of one of these."""
    if name in FRAMES:
        family, title = "hostile frames against gateway and host", name.replace("_", " ").capitalize()
    else:
        family, title = "outbox against the replicator", (outbox_attacks.ATTACKS[name].__doc__ or "").removesuffix(".")
    return Attack(name=name, family=family, title=title, run=lambda _: None, layer=_LAYER)


def of_outboxes(folder: Path) -> dict[str, tuple[Reader, Reader]]:
    """Leave every kind of file in an outbox of its own; return who reads it, our reader first."""
    folder.mkdir()
    prey = folder / "prey"
    prey.write_text(new_canary("neighbour"))
    readers: dict[str, tuple[Reader, Reader]] = {}
    for name, leave in outbox_attacks.ATTACKS.items():
        if name in HARMLESS or (name in outbox_attacks.NEEDS_ROOT and os.geteuid() != 0):
            continue
        tenant = folder / name
        (tenant / OUTBOX).mkdir(parents=True)
        file = leave(tenant / OUTBOX, prey)
        readers[name] = (partial(carry_away, tenant), partial(_read, tenant / OUTBOX / file))
    return readers


def carry_away(tenant: Path) -> str:
    """Look at an outbox as the replicator does."""
    with Folder(tenant) as folder:
        for file in outbox.list_files(folder).files:
            with contextlib.suppress(Refused):
                for _ in outbox.verify(tenant, file):
                    pass
                return "it would be carried away"
    return ""


def _read(path: Path) -> str:
    return f"it took {len(outbox_attacks.read_naively(path))} bytes for a file of transactions"


def of_sockets(sockets: dict[str, Path]) -> dict[str, tuple[Reader, Reader]]:
    """Return who asks at each of these sockets, our client first."""
    return {name: (partial(_ask_in_a_loop, path), partial(_ask_naively, path)) for name, path in sockets.items()}


def _ask_in_a_loop(path: Path) -> str:
    return asyncio.run(_ask(path))


async def _ask(path: Path) -> str:
    with contextlib.suppress(RemoteError):
        async with await Client.connect(path, timeout_s=2) as client:
            memory = await client.call("memory_get", {"id": 1}, result_type=Memory, deadline_ms=_DEADLINE_MS)
            return f"it took {type(memory).__name__} for an answer"
    return ""


def _ask_naively(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        request = msgspec.msgpack.encode({"id": 1, "method": "memory_get", "params": {"id": 1}, "deadline_ms": _DEADLINE_MS})
        connection.sendall(struct.pack(">I", len(request)) + request)
        while True:
            (length,) = struct.unpack(">I", _exactly(connection, 4))
            reply = msgspec.msgpack.decode(_exactly(connection, length))
            if "hello" not in reply and "going_away" not in reply:
                return f"it took {str(reply)[:60]} for the answer"


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(min(65536, count - len(data)))
        if not piece:
            raise ConnectionResetError("it hung up")
        data += piece
    return bytes(data)


def _start(reader: Reader, wait_s: int) -> tuple[int, int]:
    """Have a child read; return its number and the pipe on which it tells of harm."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(readable)
        signal.alarm(wait_s)
        space = address_space_bytes() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
        try:
            harm = reader()
        except (MemoryError, RecursionError) as error:
            harm = f"it broke off with {type(error).__name__}"
        except OSError:
            harm = ""
        os.write(writable, harm.encode())
        os._exit(0)
    os.close(writable)
    return pid, readable


def _outcome(pid: int, readable: int) -> Outcome:
    with os.fdopen(readable, "rb") as pipe:
        harm = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == -signal.SIGALRM:
        harm = b"it waits for ever"
    elif status != 0:
        harm = f"it ended with {status}".encode()
    return Outcome(bool(harm), harm, "it is not believed")


def main() -> None:
    """Have everything read, all at the same time, and print what became of it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(prefix="engram-strangers-") as folder:
        sockets = {name: Path(folder, f"{number}.sock") for number, name in enumerate(FRAMES)}
        assert sockets.keys() <= EVERYTHING.keys()
        with impostor(sockets):
            readers = of_outboxes(Path(folder, "outboxes")) | of_sockets(sockets)
            children = {
                name: (_start(ours, OUR_WAIT_S), _start(naive, NAIVE_WAIT_S)) for name, (ours, naive) in readers.items()
            }
            outcomes = {name: (_outcome(*ours), _outcome(*naive)) for name, (ours, naive) in children.items()}
    sys.stdout.buffer.write(msgspec.json.encode(outcomes))


if __name__ == "__main__":
    main()
