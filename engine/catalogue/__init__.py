"""Every operation of the engine, one file per family, and the tools among them that agents may call."""

from __future__ import annotations

from typing import Any

from engine.catalogue import (
    activity,
    batch,
    context,
    discovery,
    duplicates,
    embedding,
    expand,
    expiration,
    graph,
    history,
    lifecycle,
    links,
    memory,
    recovery,
    search,
    session,
    statistics,
    tag,
    transfer,
    workspace,
)
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
        discovery.DISCOVER,
        batch.BATCH,
        batch.CREATE_BATCH,
        batch.DELETE_BATCH,
        history.RESTORE,
        history.VERSIONS,
        history.GET_VERSION,
        history.REVERT,
        history.EMPTY_TRASH,
        expiration.SET_EXPIRATION,
        expiration.PROMOTE,
        links.LINK,
        links.UNLINK,
        links.LINKS,
        graph.RELATED,
        graph.TRAVERSE,
        graph.FIND_PATH,
        statistics.STATS,
        tag.TAGS,
        activity.RECENT,
        expand.SEARCH_COMPACT,
        expand.EXPAND,
        context.BUILD,
        context.PROMPT,
        session.LAND,
        session.CHECKPOINT,
        workspace.LIST,
        workspace.STATS,
        workspace.MOVE,
        workspace.DELETE,
        duplicates.FIND,
        transfer.EXPORT,
        transfer.IMPORT,
    )
}
"""What agents and programs may call, in the order in which it is shown."""

OPERATIONS: dict[str, Operation[Any, Any]] = {
    operation.name: operation
    for operation in (
        *TOOLS.values(),
        *transfer.OPERATIONS,
        embedding.PENDING,
        embedding.STORE,
        lifecycle.HIBERNATE,
        lifecycle.HOUSEKEEP,
        lifecycle.DATABASE_CHECK,
        recovery.FLUSH,
        recovery.RESTORE_PREVIEW,
        recovery.PURGES,
        recovery.FORGET,
    )
}
"""What the engine's socket answers."""

__all__ = ["OPERATIONS", "TOOLS", "Arguments", "Embeds", "Operation", "Tool"]
