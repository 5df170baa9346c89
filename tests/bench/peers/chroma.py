"""chromadb: its HTTP server, asked for the nearest vectors. Text becomes a vector in a client of it, whose work is counted too.

Asked in two ways. "bare": this process makes the vectors with the code of our embedder, as many at a time as there are
processors, and speaks to the server directly; nothing that uses Chroma can have less to do. "own client": the client library in
a process of its own, with the embedding function that it brings along (``chroma_client``).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil

from engine.embedder.model import Model
from engine.embedder.settings import DEFAULT_MODEL
from engine.process import die_with_parent
from tests.bench.peers import environment
from tests.bench.peers.connection import Connection
from tests.bench.peers.dataset import Item
from tests.bench.peers.load import Speed, speed
from tests.bench.peers.system import LIMIT, files_mb, private_mb, server
from tests.service import MODELS, free_port

VERSION = "1.5.9"
NOTES = (
    f"chromadb {VERSION}: `chroma run`, a collection with the settings it comes with (HNSW, ef 100, 16 neighbours); by meaning "
    "only: its single-node server answers 501 to hybrid search. Bare: the same model, vectors made in the load's process with "
    "our embedder's code, no client library. Own client: its HttpClient and ONNXMiniLM_L6_V2, made once, in another process; "
    "the same model, but that function pads every text to 256 tokens. Memory is the server's alone, without a model."
)

_COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"
_NAME = "memories"
_BATCH = 500
_QUERIES_PER_SECOND_MAX = 1000
"""Far more than its own client can ask."""


class _Created(msgspec.Struct):
    id: str


class _Documents(msgspec.Struct):
    documents: list[list[str]]


class _Embedder:
    """The model on as many threads as there are processors, each with a copy of its own."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(os.cpu_count(), initializer=self._load)

    async def query(self, text: str) -> list[float]:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._embed_query, text)

    async def documents(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._embed_documents, texts)

    def close(self) -> None:
        self._pool.shutdown()

    def _load(self) -> None:
        self._own.model = Model.load(DEFAULT_MODEL, MODELS)

    def _embed_query(self, text: str) -> list[float]:
        return _numbers(self._own.model.embed_query([text])[0])

    def _embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [_numbers(vector) for vector in self._own.model.embed_documents(texts)]


class Chroma:
    """Its running server, the vectors made here."""

    name = "chromadb, semantic, bare"

    def __init__(self, url: str, process: psutil.Process, folder: Path, embedder: _Embedder) -> None:
        self._url = url
        self._process = process
        self._folder = folder
        self._embedder = embedder
        self._ids = itertools.count(1)
        self._path = ""

    async def fill(self, items: Sequence[Item]) -> int:
        connection = await Connection.open(self._url, {})
        created = msgspec.json.decode(await connection.post(_COLLECTIONS, {"name": _NAME}), type=_Created)
        self._path = f"{_COLLECTIONS}/{created.id}"
        batches = [items[first : first + _BATCH] for first in range(0, len(items), _BATCH)]
        vectors = await asyncio.gather(*(self._embedder.documents([item.text for item in batch]) for batch in batches))
        for batch, embeddings in zip(batches, vectors, strict=True):
            metadatas = [
                {"conversation": item.conversation, "session": item.session, "event_time": item.said_at} for item in batch
            ]
            await self.add(connection, [item.text for item in batch], embeddings, metadatas)
        connection.close()
        return len(items)

    async def add(self, connection: Connection, texts: list[str], embeddings: Any, metadatas: Any) -> None:
        body = {
            "ids": [str(next(self._ids)) for _ in texts],
            "embeddings": embeddings,
            "documents": texts,
            "metadatas": metadatas,
        }
        await connection.post(f"{self._path}/add", body)

    async def connect(self) -> _Client:
        return _Client(self, await Connection.open(self._url, {}), self._path, self._embedder)

    def footprint(self) -> tuple[float, float]:
        return private_mb([self._process]), files_mb(self._folder / "data", "*")


class _Client:
    def __init__(self, chroma: Chroma, connection: Connection, path: str, embedder: _Embedder) -> None:
        self._chroma = chroma
        self._connection = connection
        self._path = path
        self._embedder = embedder

    async def search(self, query: str, conversation: str | None = None) -> list[str]:
        vector = await self._embedder.query(query)
        body: dict[str, Any] = {
            "query_embeddings": [vector],
            "n_results": LIMIT,
            "include": ["documents", "metadatas", "distances"],
        }
        if conversation is not None:
            body["where"] = {"conversation": conversation}
        answer = await self._connection.post(f"{self._path}/query", body)
        return msgspec.json.decode(answer, type=_Documents).documents[0]

    async def write(self, text: str) -> None:
        await self._chroma.add(self._connection, [text], await self._embedder.documents([text]), [{"session": "written"}])

    def close(self) -> None:
        self._connection.close()


class OwnClient:
    """Its client library, in a process that is told what to ask and says how long it took."""

    name = "chromadb, semantic, own client"

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def searches(self, queries: Iterator[str], *, clients: int, seconds: float) -> Speed:
        """Search with so many threads for so long."""
        return self._run("search", queries, clients, seconds)

    def writes(self, texts: Iterator[str], *, clients: int, seconds: float) -> Speed:
        """Store with so many threads for so long."""
        return self._run("write", texts, clients, seconds)

    def _run(self, work: str, texts: Iterator[str], clients: int, seconds: float) -> Speed:
        given = list(itertools.islice(texts, int(seconds * _QUERIES_PER_SECOND_MAX)))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"work": work, "texts": given, "clients": clients, "seconds": seconds, "limit": LIMIT}
        self._process.stdin.write(f"{json.dumps(order)}\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return speed(answer["times_ms"], answer["seconds"])


@contextmanager
def running(folder: Path) -> Iterator[tuple[Chroma, OwnClient]]:
    """Yield its server, asked without and with its client. ``Unavailable`` if it can't run here."""
    programs = environment.environment("chromadb", [f"chromadb=={VERSION}", *environment.runtime()])
    port = free_port()
    url = f"http://localhost:{port}"
    given = environment.settings() | {"ANONYMIZED_TELEMETRY": "False"}
    command = [str(programs / "chroma"), "run", "--path", str(folder / "data"), "--port", str(port)]
    embedder = _Embedder()
    try:
        with server(command, environment=given, folder=folder, health=f"{url}/api/v2/heartbeat") as process:
            client = subprocess.Popen(
                [str(programs / "python"), str(Path(__file__).with_name("chroma_client.py")), str(port), _NAME],
                env=given,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=die_with_parent,
            )
            try:
                yield Chroma(url, process, folder, embedder), OwnClient(client)
            finally:
                client.communicate()
    finally:
        embedder.close()


def _numbers(vector: bytes) -> list[float]:
    numbers: list[float] = np.frombuffer(vector, "<f4").tolist()
    return numbers
