"""A line to one of our own processes: made on first use, made again after the process was restarted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Self, TypeVar

from engine.client import Client
from engine.protocol import Embedding
from engine.protocol.limits import DEADLINE_DEFAULT_MS

T = TypeVar("T")


class Link:
    """Calls to the server at one socket. An async context manager; fails with ``unavailable`` at once when nobody is there."""

    def __init__(self, path: Path, *, connect_timeout_s: float = 2.0) -> None:
        self._path = path
        self._connect_timeout_s = connect_timeout_s
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._client is not None:
            await self._client.close()

    async def call(
        self,
        method: str,
        params: Any = None,
        *,
        result_type: type[T],
        embeddings: list[Embedding] | None = None,
        deadline_ms: int = DEADLINE_DEFAULT_MS,
    ) -> T:
        """Return the answer of ``method``; never sends anything twice."""
        client = await self._usable_client()
        return await client.call(method, params, result_type=result_type, embeddings=embeddings, deadline_ms=deadline_ms)

    async def _usable_client(self) -> Client:
        if self._client is not None and self._client.usable:
            return self._client
        async with self._connecting:
            if self._client is None or not self._client.usable:
                self._client = await Client.connect(self._path, timeout_s=self._connect_timeout_s)
            return self._client
