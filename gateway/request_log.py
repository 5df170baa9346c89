"""The log's line for each request: written in one go every so often, because a system call a line costs more than the line.

A gateway that is killed loses the lines of the last moment, never anything else: errors are logged at once, elsewhere.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, BinaryIO, Self

import msgspec

_HELD_S = 0.05
_encode = msgspec.json.Encoder().encode


class RequestLog:
    """Lines for one stream. An async context manager; leaving it writes what is held."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._held: list[bytes] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._write()

    def add(self, fields: dict[str, Any]) -> None:
        """Hold one line, in the form of all others."""
        if not self._held:
            asyncio.get_running_loop().call_later(_HELD_S, self._write)
        timestamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        line = {"event": "request", **fields, "program": "gateway", "level": "info", "timestamp": timestamp}
        self._held.append(_encode(line))

    def _write(self) -> None:
        lines, self._held = self._held, []
        if lines:
            self._stream.write(b"\n".join(lines) + b"\n")
            self._stream.flush()
