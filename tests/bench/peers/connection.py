"""The one HTTP client of the comparison: JSON over a kept connection, and little work for the processor that servers share."""

from __future__ import annotations

import asyncio
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

_END = b"\r\n\r\n"


class RequestFailed(Exception):
    """The answer was no success; the message is the answer."""


class Connection:
    """One HTTP/1.1 connection for one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self._reader = reader
        self._writer = writer
        self._head = head

    @classmethod
    async def open(cls, url: str, headers: dict[str, str]) -> Self:
        """Connect to a server and send these headers with every request."""
        address = urlsplit(url)
        assert address.hostname is not None
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return cls(reader, writer, f"Host: {address.netloc}\r\nContent-Type: application/json\r\n{head}")

    async def post(self, path: str, body: Any) -> bytes:
        """Return the body of a successful answer; ``RequestFailed`` for any other."""
        sent = msgspec.json.encode(body)
        self._writer.write(f"POST {path} HTTP/1.1\r\n{self._head}Content-Length: {len(sent)}\r\n\r\n".encode() + sent)
        head = (await self._reader.readuntil(_END)).lower()
        answer = await self._body(head)
        if not head.startswith(b"http/1.1 2"):
            raise RequestFailed(f"{path}: {head.splitlines()[0].decode()}: {answer[:500].decode(errors='replace')}")
        return answer

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    async def _body(self, head: bytes) -> bytes:
        _, found, after = head.partition(b"\r\ncontent-length:")
        if not found:  # none of these servers streams its answers
            raise RequestFailed("the answer doesn't say how long it is")
        return await self._reader.readexactly(int(after[: after.index(b"\r\n")]))
