"""Many changes in one write. The first that fails takes all with it, and is named."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET

from engine.catalogue.batch import (
    BATCH,
    CHANGES_MAX,
    CREATE_BATCH,
    DELETE_BATCH,
    BatchDone,
    Created,
    DeletedBatch,
    MemoryBatch,
    MemoryCreateBatch,
    MemoryDeleteBatch,
)
from engine.catalogue.memory import Memory, MemoryCreate, MemoryUpdate, NewMemory
from engine.protocol import Embedding, Request
from engine.protocol.errors import invalid
from engine.store import memories
from engine.store.database import Database
from engine.tools import memory
from engine.tools.bounds import within
from engine.tools.handler import Handler


def batch(database: Database, arguments: MemoryBatch, request: Request) -> BatchDone:
    """Create, then change, then delete."""
    if len(arguments.create) + len(arguments.update) + len(arguments.delete) > CHANGES_MAX:
        raise invalid("create", f"a batch has at most {CHANGES_MAX} changes")
    embeddings = _embeddings(request)
    created = _create(database, arguments.create, embeddings, request, "create")
    updated = _update(database, arguments.update, embeddings, request)
    _delete(database, arguments.delete, "delete", request, purge=arguments.purge)
    if created or updated:
        database.check_limits(request.caller.limits, added=sum(one.outcome == "created" for one in created))
    return BatchDone(created=created, updated=updated, deleted=arguments.delete)


def create_batch(database: Database, arguments: MemoryCreateBatch, request: Request) -> Created:
    """Store many memories."""
    created = _create(database, arguments.memories, _embeddings(request), request, "memories")
    database.check_limits(request.caller.limits, added=sum(one.outcome == "created" for one in created))
    return Created(memories=created)


def delete_batch(database: Database, arguments: MemoryDeleteBatch, request: Request) -> DeletedBatch:
    """Delete many memories."""
    _delete(database, arguments.ids, "ids", request, purge=arguments.purge)
    return DeletedBatch(deleted=arguments.ids)


def _create(
    database: Database, wanted: list[MemoryCreate], embeddings: Iterator[Embedding | None], request: Request, field: str
) -> list[NewMemory]:
    created = []
    for number, one in enumerate(wanted):
        database.check_deadline()
        with within(f"{field}[{number}]"):
            created.append(memory.create_one(database, one, next(embeddings), request))
    return created


def _update(
    database: Database, wanted: list[MemoryUpdate], embeddings: Iterator[Embedding | None], request: Request
) -> list[Memory]:
    updated = []
    for number, one in enumerate(wanted):
        database.check_deadline()
        with within(f"update[{number}]"):
            embedding = None if one.content is UNSET else next(embeddings)
            updated.append(memory.update_one(database, one, embedding, request))
    return updated


def _delete(database: Database, ids: list[int], field: str, request: Request, *, purge: bool) -> None:
    seen: set[int] = set()
    for number, memory_id in enumerate(ids):
        if memory_id in seen:
            raise invalid(f"{field}[{number}]", "was named before")
        seen.add(memory_id)
        with within(f"{field}[{number}]"):
            if purge:
                memories.check_stored(database.connection, memory_id, database.now())
            else:
                database.check_deadline()
                memory.trash(database, memory_id, request)
    if purge:
        memory.purge(database, ids)


def _embeddings(request: Request) -> Iterator[Embedding | None]:
    """Yield the embeddings of the request's texts in their order, or ``None`` for each when it came without."""
    yield from request.embeddings
    while not request.embeddings:
        yield None


HANDLERS: dict[str, Handler] = {BATCH.name: batch, CREATE_BATCH.name: create_batch, DELETE_BATCH.name: delete_batch}
