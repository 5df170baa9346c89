"""Sockets: of every family, to the node, the neighbour and the network; and what connections carry beside bytes."""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
from typing import Any

import msgspec

from tests.isolation.attack import CATALOGUE, Targets
from tests.isolation.attacks.files import own_folder
from tests.isolation.attacks.signals import connections
from tests.isolation.system import call

attack = CATALOGUE.family("sockets")

_PACKET = 17
_NAMED = {1, 2, 10, 16, _PACKET}
_FAMILIES_MAX = 46
_TIMEOUT_S = 2.0


def _open(family: int, kind: int, protocol: int = 0) -> str:
    descriptor = call("socket", family, kind, protocol)
    os.close(descriptor)
    return f"descriptor {descriptor}"


@attack()
def open_tcp_socket(_: Targets) -> str:
    """Open a TCP socket."""
    return _open(socket.AF_INET, socket.SOCK_STREAM)


@attack()
def open_udp_socket(_: Targets) -> str:
    """Open a UDP socket."""
    return _open(socket.AF_INET, socket.SOCK_DGRAM)


@attack()
def open_ipv6_socket(_: Targets) -> str:
    """Open an IPv6 socket."""
    return _open(socket.AF_INET6, socket.SOCK_STREAM)


@attack()
def open_raw_socket(_: Targets) -> str:
    """Open a raw IP socket."""
    return _open(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


@attack()
def open_unix_socket(_: Targets) -> str:
    """Open a Unix socket for streams."""
    return _open(socket.AF_UNIX, socket.SOCK_STREAM)


@attack()
def open_unix_datagram_socket(_: Targets) -> str:
    """Open a Unix socket for datagrams."""
    return _open(socket.AF_UNIX, socket.SOCK_DGRAM)


@attack()
def open_netlink_socket(_: Targets) -> str:
    """Open a netlink socket."""
    return _open(socket.AF_NETLINK, socket.SOCK_RAW)


@attack()
def open_packet_socket(_: Targets) -> str:
    """Open a socket that sees every packet."""
    return _open(_PACKET, socket.SOCK_RAW, socket.htons(3))


@attack()
def open_any_other_socket(_: Targets) -> str:
    """Open a socket of any other family, from VSOCK to Bluetooth."""
    opened, refusal = [], OSError(errno.EAFNOSUPPORT, "no family is left")
    for family in range(1, _FAMILIES_MAX):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            if family in _NAMED:
                continue
            try:
                _open(family, kind)
            except OSError as error:
                if error.errno not in (errno.EAFNOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EPROTONOSUPPORT):
                    refusal = error
            else:
                opened.append(family)
                break
    if not opened:
        raise refusal
    return f"families {opened}"


@attack()
def open_socket_pair(_: Targets) -> str:
    """Make a pair of sockets, over which descriptors travel."""
    call("socketpair", socket.AF_UNIX, socket.SOCK_STREAM, 0, pair := array.array("i", [0, 0]).buffer_info()[0])
    return f"pair at {pair:#x}"


def _hello(path: str) -> dict[str, Any]:
    """Connect to one of the node's programs and return its greeting."""
    with _connected(path) as connection:
        return _reply(connection)


@attack()
def talk_to_neighbour(targets: Targets) -> str:
    """Connect to the neighbour's engine."""
    return str(_hello(targets.path("run", "engines", f"{targets.neighbour}.sock")))


@attack(steals="neighbour")
def ask_neighbour(targets: Targets) -> str:
    """Ask the neighbour's engine for its memories."""
    return str(_ask(targets.path("run", "engines", f"{targets.neighbour}.sock"), "memory_list", {"limit": 10}))


@attack()
def talk_to_fork_server(targets: Targets) -> str:
    """Ask the fork server which engines run."""
    return str(_ask(targets.path("run", "fork.sock"), "list", {})["result"])


@attack()
def talk_to_host(targets: Targets) -> str:
    """Ask the host for the neighbour's socket."""
    return str(_ask(targets.path("run", "host.sock"), "ensure", {"tenant": targets.neighbour})["result"])


@attack(steals="socket")
def connect_to_abstract_socket(targets: Targets) -> bytes:
    """Connect to an abstract Unix socket of the service's."""
    with _connected(f"\0{targets.abstract}") as connection:
        return connection.recv(4096)


@attack(steals="socket")
def connect_by_tcp(targets: Targets) -> bytes:
    """Connect to a TCP port of the service's."""
    with socket.socket() as connection:
        connection.settimeout(_TIMEOUT_S)
        connection.connect(("127.0.0.1", targets.tcp_port))
        return connection.recv(4096)


@attack(seen=lambda scene: "a datagram came" if scene.bystander.got_datagram() else "")
def send_by_udp(targets: Targets) -> None:
    """Send a datagram out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"stolen", ("127.0.0.1", targets.udp_port))


@attack()
def offer_a_port(_: Targets) -> str:
    """Listen on a TCP port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        return f"port {listening.getsockname()[1]}"


@attack()
def take_neighbours_place(targets: Targets) -> str:
    """Listen where the neighbour's engine is expected."""
    path = targets.path("run", "engines", f"{targets.neighbour}.sock")
    moved = f"{path}.moved"
    os.rename(path, moved)
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen()
    finally:
        os.rename(moved, path)
    return "who asks for the neighbour reaches it"


@attack(seen=lambda scene: scene.reader.received(scene.targets.folder), layer="readers that take no descriptors")
def send_a_descriptor(targets: Targets) -> None:
    """Send whoever asks it a descriptor of its own, by SCM_RIGHTS."""
    with open(f"{own_folder(targets)}/memory.db", "rb") as file:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", file.fileno()))]
        with socket.socket(fileno=os.dup(connections()[0])) as connection:
            connection.sendmsg([b"\0"], rights)


def _connected(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_TIMEOUT_S)
    try:
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _ask(path: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
    with _connected(path) as connection:
        _reply(connection)
        request = msgspec.msgpack.encode({"id": 1, "method": method, "params": params, "deadline_ms": 2000})
        connection.sendall(struct.pack(">I", len(request)) + request)
        return _reply(connection)


def _reply(connection: socket.socket) -> dict[str, Any]:
    (length,) = struct.unpack(">I", _exactly(connection, 4))
    reply: dict[str, Any] = msgspec.msgpack.decode(_exactly(connection, length))
    return reply


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += (piece := connection.recv(count - len(data)))
        if not piece:
            raise ConnectionResetError(errno.ECONNRESET, "it hung up")
    return data
