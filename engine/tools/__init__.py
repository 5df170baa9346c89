"""What each operation of the catalogue does, one file per family under the same name.

A handler gets the open database, the decoded arguments and the request they came with. It neither opens transactions nor
knows about sockets.
"""

from __future__ import annotations

from engine.tools import (
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
from engine.tools.handler import Handler

HANDLERS: dict[str, Handler] = {
    **memory.HANDLERS,
    **batch.HANDLERS,
    **discovery.HANDLERS,
    **history.HANDLERS,
    **expiration.HANDLERS,
    **search.HANDLERS,
    **links.HANDLERS,
    **graph.HANDLERS,
    **statistics.HANDLERS,
    **tag.HANDLERS,
    **activity.HANDLERS,
    **expand.HANDLERS,
    **context.HANDLERS,
    **session.HANDLERS,
    **workspace.HANDLERS,
    **duplicates.HANDLERS,
    **transfer.HANDLERS,
    **embedding.HANDLERS,
    **lifecycle.HANDLERS,
    **recovery.HANDLERS,
}
"""Everything but ``hibernate``, ``database_check``, ``flush`` and ``restore_preview``, which the process answers itself."""
