"""The pump between real databases and the real embedding process; the way to the engines is shortened to their handlers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from engine.catalogue import Operation
from engine.catalogue.memory import MemoryCreate
from engine.embedder.client import EmbedderClient
from engine.embedder.settings import DEFAULT_MODEL, FLOAT_MODEL
from engine.protocol import Embedding, ErrorCode, RemoteError, Request
from engine.store import passages
from engine.store.connection import preload
from engine.store.database import Database
from engine.tools import embedding, memory
from gateway.bulk_budget import BulkBudget
from gateway.embedding_pump import EmbeddingPump
from tests.embedder.conftest import PATIENCE_S


class Engines:
    """Databases by tenant, called as the router calls engines; ``refusals`` are asked first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.databases: dict[str, Database] = {}
        self.refusals: dict[str, Callable[[Operation[Any, Any]], Any]] = {}
        self.served: list[str] = []

    def open(self, tenant: str, texts: list[str]) -> Database:
        database = self.databases[tenant] = Database(self._folder / f"{tenant}.db")
        with database.write_group():
            for text in texts:
                memory.create(database, MemoryCreate(content=text), Request(id=1, method=""))
        return database

    async def call(
        self, tenant: str, operation: Operation[Any, Any], arguments: Any, *, embeddings: list[Embedding] | None = None
    ) -> Any:
        self.served.append(tenant)
        if tenant in self.refusals:
            return self.refusals[tenant](operation)
        database = self.databases[tenant]
        params = msgspec.Raw(msgspec.msgpack.encode(arguments))
        decoded = msgspec.msgpack.decode(params, type=operation.arguments)
        request = Request(id=1, method=operation.name, params=params, embeddings=embeddings or [])
        with database.write_group():
            return embedding.HANDLERS[operation.name](database, decoded, request)

    def pending(self) -> int:
        return sum(passages.pending_count(database.connection) for database in self.databases.values())


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[Engines]:
    preload()
    engines = Engines(tmp_path)
    yield engines
    for database in engines.databases.values():
        database.close()


@pytest_asyncio.fixture
async def pump(client: EmbedderClient, engines: Engines) -> AsyncIterator[EmbeddingPump]:
    pump = EmbeddingPump(client, BulkBudget())
    running = asyncio.create_task(pump.run(engines))  # type: ignore[arg-type]
    yield pump
    running.cancel()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_tenants_take_turns(pump: EmbeddingPump, engines: Engines) -> None:
    many = engines.open("many", [f"text {number}" for number in range(100)])
    few = engines.open("few", ["one", "two"])
    pump.note("many")
    pump.note("few")
    await until(lambda: passages.pending_count(few.connection) == 0)

    assert passages.pending_count(many.connection) >= 50
    await until(lambda: engines.pending() == 0)


async def test_what_an_engine_answers_wrongly_stops_no_other(pump: EmbeddingPump, engines: Engines) -> None:
    def refuse(operation: Operation[Any, Any]) -> Any:
        raise RemoteError(ErrorCode.INVALID, "no")

    def fail(operation: Operation[Any, Any]) -> Any:
        raise ValueError("no answer of this kind is known")

    engines.refusals = {"refuses": refuse, "fails": fail, "nonsense": lambda _: 7}
    engines.open("honest", [f"text {number}" for number in range(50)])
    for tenant in ("refuses", "fails", "nonsense", "honest"):
        pump.note(tenant)
    await until(lambda: engines.pending() == 0)

    assert [engines.served.count(tenant) for tenant in engines.refusals] == [1, 1, 1]


async def test_what_is_down_for_a_while_is_tried_again(pump: EmbeddingPump, engines: Engines) -> None:
    def be_down(operation: Operation[Any, Any]) -> Any:
        del engines.refusals["tenant"]
        raise RemoteError(ErrorCode.UNAVAILABLE, "the engine is starting")

    engines.open("tenant", ["text"])
    engines.refusals["tenant"] = be_down
    pump.note("tenant")
    await until(lambda: engines.pending() == 0)

    assert engines.served.count("tenant") >= 3


async def test_another_models_vectors_give_way_to_the_last(
    pump: EmbeddingPump, engines: Engines, client: EmbedderClient, float_model: None
) -> None:
    database = engines.open("tenant", [f"text {number}" for number in range(30)])
    texts = passages.pending(database.connection, 30)
    vectors = await client.documents([text.content for text in texts], model=FLOAT_MODEL, deadline_ms=PATIENCE_S * 1000)
    with database.write_group():
        passages.store(database.connection, [(text.id, text.content_hash) for text in texts], vectors)
    pump.note("tenant")
    names = "SELECT name FROM embedding_models"
    await until(lambda: database.connection.execute(names).fetchall() == [(DEFAULT_MODEL,)])

    assert passages.model(database.connection) == pump.model == DEFAULT_MODEL
    assert database.connection.execute("SELECT count(*) FROM passages").get == 30
