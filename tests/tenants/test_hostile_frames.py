"""Whatever comes in at a socket of ours ends with that connection: the process behind it serves the others on."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.address import connect
from engine.link import Link
from tests.service import Service

SOCKETS = {"host": "status", "fork": "list", "embed": "status", "replica": "status"}
"""Each with a method that answers what it is about."""

METHODS = [
    "status",
    "list",
    "ensure",
    "suspect",
    "fork",
    "terminate",
    "measure",
    "isolation",
    "watch",
    "embed_query",
    "embed_documents",
]
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, -1, 2**63, 2**64 - 1, -(2**63), "", "\0", "../../x", "db_" + "z" * 20, b"", 1e308, float("nan")])
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["tenant", "text", "texts", "model"]), inner),
    max_leaves=5,
)
REQUESTS = st.fixed_dictionaries(
    {"id": st.sampled_from([0, 1, -1, 2**63]) | VALUES, "method": st.sampled_from(METHODS) | VALUES, "params": VALUES},
    optional={
        "deadline_ms": st.sampled_from([0, -1, -(2**63), 2**63, 100]),
        "caller": VALUES,
        "embeddings": VALUES,
        "trace": VALUES,
    },
)
BYTES = [
    b"\xff\xff\xff\xff", b"\0\0\0\0", struct.pack(">I", 16 * 1024 * 1024) + b"x", struct.pack(">I", 3) + b"\xc1\xc1\xc1",
    struct.pack(">I", 5) + b"\xdd\xff\xff\xff\xff", struct.pack(">I", 20_000) + b"\x91" * 20_000, b"GET / HTTP/1.1\r\n\r\n",
    struct.pack(">I", 15) + b"\x82\xa2id\x01\xa6method\xa1\xff", struct.pack(">I", 10) + b"\x81\xa6params\xdf\xff",
]  # fmt: skip


def send(path: Path, data: bytes) -> None:
    """Send it all, say that no more will come, and take what is answered for a moment."""
    with connect(path) as connection:
        connection.settimeout(0.5)
        with contextlib.suppress(OSError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


async def serves(path: Path, method: str) -> bool:
    async with Link(path) as link:
        return isinstance(await link.call(method, {}, result_type=dict[str, Any]), dict)


@pytest.mark.parametrize("name", SOCKETS)
async def test_no_frame_ends_the_process_behind_it(service: Service, name: str) -> None:
    path = service.folder / "run" / f"{name}.sock"
    before = {process.pid for process in service.processes() if "engram engine" not in " ".join(process.cmdline())}

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(REQUESTS.map(msgspec.msgpack.encode).map(frame) | st.binary(max_size=40) | st.sampled_from(BYTES), max_size=3)
    )
    def attack(pieces: list[bytes]) -> None:
        send(path, b"".join(pieces))

    attack()
    after = {process.pid for process in service.processes() if "engram engine" not in " ".join(process.cmdline())}

    assert await serves(path, SOCKETS[name])
    assert after == before
    assert "Traceback" not in "".join(line for line in service.log().splitlines() if '"program":"embedder"' not in line)


@pytest.mark.parametrize("name", sorted(SOCKETS.keys() - {"fork"}))
async def test_who_does_not_read_its_answers_fills_no_memory(service: Service, name: str) -> None:
    """A hundred thousand questions, no answer read: the process stops reading the questions.

    Not so the fork server, which has one thread and one client, the host: it waits five seconds for it and hangs up.
    """
    path = service.folder / "run" / f"{name}.sock"
    question = frame(msgspec.msgpack.encode({"id": 1, "method": SOCKETS[name]}))
    sent = 0
    with connect(path) as rogue:
        rogue.settimeout(1)
        with contextlib.suppress(OSError):
            while sent < 100_000:
                rogue.sendall(question * 100)
                sent += 100
        assert await serves(path, SOCKETS[name])

    assert sent < 100_000
