"""Every operation of the engine, one file per family, and the tools among them that agents may call."""

from __future__ import annotations

from typing import Any

from engine.catalogue import embedding, lifecycle, memory, search, statistics, transfer
from engine.catalogue.operation import Arguments, Embeds, Operation, Tool

TOOLS: dict[str, Tool[Any, Any]] = {
    tool.name: tool
    for tool in (
        memory.CREATE,
        search.SEARCH,
        memory.GET,
        memory.UPDATE,
        memory.DELETE,
        memory.LIST,
        statistics.STATS,
    )
}
"""What agents and programs may call, in the order in which it is shown."""

OPERATIONS: dict[str, Operation[Any, Any]] = {
    operation.name: operation
    for operation in (
        *TOOLS.values(),
        transfer.EXPORT,
        transfer.IMPORT_BEGIN,
        transfer.IMPORT_STAGE,
        transfer.IMPORT_COMMIT,
        transfer.IMPORT_ABANDON,
        embedding.PENDING,
        embedding.STORE,
        lifecycle.HIBERNATE,
    )
}
"""What the engine's socket answers."""

__all__ = ["OPERATIONS", "TOOLS", "Arguments", "Embeds", "Operation", "Tool"]
