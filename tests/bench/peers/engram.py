"""This service, asked over REST: by words and meaning, which is its default, or by meaning alone, as some peers are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tests.bench.peers.connection import Connection
from tests.bench.peers.dataset import Item
from tests.bench.peers.system import LIMIT, files_mb, private_mb
from tests.service import Account, Service


class _Found(msgspec.Struct):
    content: str


class _Hit(msgspec.Struct):
    memory: _Found


class _Hits(msgspec.Struct):
    results: list[_Hit]


_DECODER = msgspec.json.Decoder(_Hits)


class Engram:
    """One customer of a running node, whose searches are of one mode."""

    def __init__(self, service: Service, account: Account, mode: str) -> None:
        self.name = f"Engram Cloud, {mode}"
        self._mode = mode
        self._service = service
        self._account = account

    async def fill(self, items: Sequence[Item]) -> int:
        entries: list[dict[str, Any]] = [
            {
                "id": number,
                "content": item.text,
                "memory_type": "note",
                "tags": [],
                "metadata": {"session": item.session},
                "workspace": item.conversation,
                "created_at": item.said_at,
                "engram_cloud": {"event_time": item.said_at},
            }
            for number, item in enumerate(items, 1)
        ]
        answer = self._account.post("/v1/import", json={"version": "1.0", "memories": entries}, timeout=600)
        answer.raise_for_status()
        self._account.wait_for_embeddings(1800)
        imported: int = answer.json()["imported"]
        return imported

    async def connect(self) -> _Client:
        headers = {"Authorization": f"Bearer {self._account.key}"}
        return _Client(await Connection.open(self._service.url, headers), self._mode)

    def footprint(self) -> tuple[float, float]:
        return private_mb(self._service.processes()), files_mb(self._service.folder / "tenants", "memory.db*")


class _Client:
    def __init__(self, connection: Connection, mode: str) -> None:
        self._connection = connection
        self._mode = mode

    async def search(self, query: str, conversation: str | None = None) -> list[str]:
        body: dict[str, Any] = {"query": query, "mode": self._mode, "limit": LIMIT}
        if conversation is not None:
            body["workspace"] = conversation
        found = _DECODER.decode(await self._connection.post("/v1/search", body))
        return [hit.memory.content for hit in found.results]

    async def write(self, text: str) -> None:
        await self._connection.post("/v1/memories", {"content": text})

    def close(self) -> None:
        self._connection.close()
