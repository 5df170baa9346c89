"""mcp-memory-service: its HTTP server with its sqlite-vec store, asked over REST (by meaning) and over MCP (hybrid).

Left as it comes, but for three things that are in its favour or that it can't do without a model hub: semantic deduplication is
off (it would refuse memories that resemble others), quality scoring is off (its model can't be had), and it doesn't announce
itself in the network.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil

from tests.bench.peers import environment
from tests.bench.peers.connection import Connection
from tests.bench.peers.dataset import Item
from tests.bench.peers.system import LIMIT, Unavailable, files_mb, private_mb, server
from tests.service import free_port

VERSION = "12.4.0"
NOTES = (
    f"mcp-memory-service {VERSION}: `memory server --http`, sqlite-vec store (synchronous=NORMAL, as it comes), the same model "
    "in its own process; REST searches by meaning only, MCP's memory_search with mode=hybrid by words too; each search also "
    "writes to its database who asked what; semantic deduplication and quality scoring are off."
)

_KEY = "bench"
_FILLING = 4
"""Clients that store the data set. Its writes go one after the other however many there are."""

_HASH = re.compile(r"^ +Hash: ([0-9a-f]{64})$", re.MULTILINE)
"""What its MCP tool says of each result. The text is looked up by it: in the answer nothing tells where a text ends."""


class _Found(msgspec.Struct):
    content: str


class _Hit(msgspec.Struct):
    memory: _Found


class _Hits(msgspec.Struct):
    results: list[_Hit]


class _Stored(msgspec.Struct):
    success: bool
    message: str
    content_hash: str | None


class _Content(msgspec.Struct):
    text: str


class _Result(msgspec.Struct):
    content: list[_Content]


class _Called(msgspec.Struct):
    result: _Result


class McpMemory:
    """Its running server, which is asked in one of two ways."""

    def __init__(self, url: str, process: psutil.Process, folder: Path, texts: dict[str, str], *, hybrid: bool) -> None:
        self.name = f"mcp-memory-service, {'hybrid' if hybrid else 'semantic'}"
        self._url = url
        self._process = process
        self._folder = folder
        self._texts = texts
        self._hybrid = hybrid

    async def fill(self, items: Sequence[Item]) -> int:
        waiting = iter(items)
        clients = [await self.connect() for _ in range(_FILLING)]

        async def store(client: _Client) -> int:
            return sum([await client.store(item.text, item) for item in waiting])

        taken = await asyncio.gather(*(store(client) for client in clients))
        for client in clients:
            client.close()
        return sum(taken)

    async def connect(self) -> _Client:
        return _Client(await Connection.open(self._url, {"X-API-Key": _KEY}), self._texts, hybrid=self._hybrid)

    def footprint(self) -> tuple[float, float]:
        return private_mb([self._process]), files_mb(self._folder, "sqlite_vec.db*")


class _Client:
    def __init__(self, connection: Connection, texts: dict[str, str], *, hybrid: bool) -> None:
        self._connection = connection
        self._texts = texts
        self._hybrid = hybrid

    async def search(self, query: str, conversation: str | None = None) -> list[str]:
        store = conversation or "all"
        if not self._hybrid:
            answer = await self._connection.post("/api/search", {"query": query, "n_results": LIMIT, "store": store})
            return [hit.memory.content for hit in msgspec.json.decode(answer, type=_Hits).results]
        arguments = {"query": query, "mode": "hybrid", "limit": LIMIT, "store": store}
        call = {"name": "memory_search", "arguments": arguments}
        answer = await self._connection.post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
        called = msgspec.json.decode(answer, type=_Called)
        return [self._texts.get(digest, "") for digest in _HASH.findall(called.result.content[0].text)]

    async def write(self, text: str) -> None:
        if not await self.store(text):
            raise AssertionError(f"refused: {text}")

    async def store(self, text: str, item: Item | None = None) -> bool:
        """Return whether the text was taken. It refuses one that it holds already, in whatever store."""
        body: dict[str, Any] = {"content": text}
        if item is not None:
            body |= {"store": item.conversation, "metadata": {"session": item.session, "event_time": item.said_at}}
        answer = msgspec.json.decode(await self._connection.post("/api/memories", body), type=_Stored)
        if not answer.success and "Duplicate content" not in answer.message:
            raise AssertionError(answer.message)
        if answer.content_hash is not None:
            self._texts[answer.content_hash] = text
        return answer.success

    def close(self) -> None:
        self._connection.close()


@contextmanager
def running(folder: Path) -> Iterator[list[McpMemory]]:
    """Yield its server twice: asked by meaning, and by words and meaning. ``Unavailable`` if it can't run here."""
    if sys.platform != "linux":
        raise Unavailable("it is started for Linux only")
    programs = environment.environment(
        "mcp-memory-service",
        [f"mcp-memory-service=={VERSION}", *environment.runtime()],
        # It asks for certificates newer than some indexes have. Nothing here is fetched over TLS.
        overrides=["certifi"],
        python=environment.python_with_extensions(),
    )
    port = free_port()
    given = {
        "MCP_API_KEY": _KEY,
        "MCP_MEMORY_BASE_DIR": str(folder),
        "MCP_MEMORY_STORAGE_BACKEND": "sqlite_vec",
        "MCP_MEMORY_USE_ONNX": "1",
        "MCP_MEMORY_ONNX_ALLOW_DOWNLOAD": "0",
        "MCP_MEMORY_ALLOW_HASH_EMBEDDINGS": "0",
        "MCP_SEMANTIC_DEDUP_ENABLED": "false",
        "MCP_QUALITY_SYSTEM_ENABLED": "false",
        "MCP_MDNS_ENABLED": "false",
    }
    command = [str(programs / "memory"), "server", "--http", "--http-port", str(port)]
    url = f"http://127.0.0.1:{port}"
    texts: dict[str, str] = {}
    with server(command, environment=environment.settings() | given, folder=folder, health=f"{url}/api/health") as process:
        yield [McpMemory(url, process, folder, texts, hybrid=hybrid) for hybrid in (False, True)]
