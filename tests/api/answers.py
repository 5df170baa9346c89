"""What the API's tests share: reading problems, and talking to the port below HTTP clients' good manners."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

import httpx

from tests.service import Account, Service

JSON = {"Content-Type": "application/json"}


def problem(answer: httpx.Response, status: int, code: str, field: str | None = None) -> dict[str, Any]:
    """Assert that ``answer`` is this RFC 9457 problem and return it."""
    assert answer.status_code == status, (answer.status_code, answer.text[:500])
    assert answer.headers["Content-Type"].split(";")[0] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["title"]
    if field is not None:
        assert body.get("field") == field, body
    return body


def count(account: Account) -> int:
    """Return how many memories the account has."""
    answer = account.get("/v1/stats")
    assert answer.status_code == 200, answer.text
    return int(answer.json()["memories"])


@dataclass(frozen=True)
class Raw:
    """What came back over a plain socket. ``status`` is 0 when the peer closed without a word."""

    status: int
    text: str
    closed: bool


def talk(service: Service, *pieces: bytes, seconds: float = 20, half_close: bool = False) -> Raw:
    """Send bytes as they are and return the first answer. A peer that closes early is no error here."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=seconds) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it answered before all was sent; the answer may still be there to read
        received, closed = b"", False
        while b"\r\n\r\n" not in received and not closed:
            try:
                received += (piece := connection.recv(65536))
                closed = not piece
            except ConnectionResetError:
                closed = True
    first = received.split(b"\r\n", 1)[0].split()
    return Raw(int(first[1]) if len(first) > 1 else 0, received.decode("latin-1"), closed)


def head(method: str, path: str, account: Account | None = None, *lines: str) -> bytes:
    """Return the head of a request, with the account's key."""
    own = ["Host: localhost", *lines]
    if account is not None:
        own.append(f"Authorization: Bearer {account.key}")
    return "\r\n".join([f"{method} {path} HTTP/1.1", *own, "", ""]).encode("latin-1")
