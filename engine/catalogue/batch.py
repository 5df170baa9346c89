"""Many changes at once, all or none."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta

from engine.catalogue.memory import CREATE, UPDATE, Memory, MemoryCreate, MemoryId, MemoryUpdate, NewMemory
from engine.catalogue.operation import Arguments, Embeds, Tool

CHANGES_MAX = 1000
"""A batch runs as one write: its neighbours wait for it."""


class MemoryBatch(Arguments):
    """Arguments of ``memory_batch``: creates, then updates, then deletes, at most 1,000 in all."""

    create: Annotated[list[MemoryCreate], Meta(max_length=CHANGES_MAX)] = []
    update: Annotated[list[MemoryUpdate], Meta(max_length=CHANGES_MAX)] = []
    delete: Annotated[list[MemoryId], Meta(max_length=CHANGES_MAX)] = []
    purge: Annotated[bool, Meta(description="Erase what is deleted for good.")] = False


class BatchDone(msgspec.Struct):
    """The memories as they are now, in the order of the request."""

    created: list[NewMemory]
    updated: list[Memory]
    deleted: list[int]


class MemoryCreateBatch(Arguments):
    """Arguments of ``memory_create_batch``."""

    memories: Annotated[list[MemoryCreate], Meta(min_length=1, max_length=CHANGES_MAX)]


class Created(msgspec.Struct):
    """The memories created, in the order of the request."""

    memories: list[NewMemory]


class MemoryDeleteBatch(Arguments):
    """Arguments of ``memory_delete_batch``."""

    ids: Annotated[list[MemoryId], Meta(min_length=1, max_length=CHANGES_MAX)]
    purge: Annotated[bool, Meta(description="Erase them for good instead of putting them into the trash.")] = False


class DeletedBatch(msgspec.Struct):
    """The ids deleted."""

    deleted: list[int]


def _texts(arguments: MemoryBatch) -> list[str]:
    updated = [change.content for change in arguments.update if change.content is not UNSET]
    return [memory.content for memory in arguments.create] + updated


def _contents(arguments: MemoryCreateBatch) -> list[str]:
    return [memory.content for memory in arguments.memories]


BATCH = Tool(
    name="memory_batch",
    title="Change many memories",
    description="Create, change and delete up to 1,000 memories in one step: all of it happens, or nothing.",
    arguments=MemoryBatch,
    result=BatchDone,
    kind="write",
    frees=True,
    category="batch",
    profile="full",
    destructive=True,
    embeds=Embeds(texts=_texts, purpose="document"),
    parts=MappingProxyType({"create": CREATE.aliases, "update": UPDATE.aliases}),
)
CREATE_BATCH = Tool(
    name="memory_create_batch",
    title="Remember many",
    description="Store up to 1,000 memories in one step, all or none.",
    arguments=MemoryCreateBatch,
    result=Created,
    kind="write",
    category="batch",
    embeds=Embeds(texts=_contents, purpose="document"),
    parts=MappingProxyType({"memories": CREATE.aliases}),
)
DELETE_BATCH = Tool(
    name="memory_delete_batch",
    title="Forget many",
    description="Delete up to 1,000 memories by their ids, all or none. purge erases them instead of trashing them.",
    arguments=MemoryDeleteBatch,
    result=DeletedBatch,
    kind="write",
    frees=True,
    category="batch",
    destructive=True,
    idempotent=True,
    aliases=MappingProxyType({"memory_ids": "ids"}),
)
