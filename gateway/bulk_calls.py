"""Which calls of tools are bulk writing, and so take turns.

A batch is as long as it is large: up to what is embedded while its sender waits, it is a request like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.catalogue import Tool
from engine.catalogue.batch import BATCH, CREATE_BATCH, DELETE_BATCH, MemoryBatch, MemoryCreateBatch, MemoryDeleteBatch
from engine.catalogue.history import EMPTY_TRASH
from engine.catalogue.transfer import IMPORT
from engine.catalogue.workspace import DELETE, MOVE

TEXTS_AT_ONCE_MAX = 64
CHARACTERS_AT_ONCE_MAX = 65_536
"""What is embedded while the caller waits: the largest memory there may be, in English a second and a half of work. More
stays pending, and is bulk."""


def _batch(arguments: MemoryBatch) -> int:
    return len(arguments.create) + len(arguments.update) + len(arguments.delete)


def _create_batch(arguments: MemoryCreateBatch) -> int:
    return len(arguments.memories)


def _delete_batch(arguments: MemoryDeleteBatch) -> int:
    return len(arguments.ids)


_CHANGES: dict[str, Callable[[Any], int]] = {
    BATCH.name: _batch,
    CREATE_BATCH.name: _create_batch,
    DELETE_BATCH.name: _delete_batch,
}
"""How many memories a call of each changes."""

_ALWAYS = frozenset(tool.name for tool in (EMPTY_TRASH, IMPORT, MOVE, DELETE))
"""How much these change is known only to the engine, and is often as much as one call may."""


def at_once(texts: list[str]) -> bool:
    """Return whether so much is embedded while the caller waits."""
    return len(texts) <= TEXTS_AT_ONCE_MAX and sum(map(len, texts)) <= CHARACTERS_AT_ONCE_MAX


def is_bulk(tool: Tool[Any, Any], arguments: Any) -> bool:
    """Return whether this call is bulk writing."""
    if tool.name in _ALWAYS:
        return True
    changes = _CHANGES.get(tool.name)
    if changes is None:
        return False
    return changes(arguments) > TEXTS_AT_ONCE_MAX or (tool.embeds is not None and not at_once(tool.embeds.texts(arguments)))
