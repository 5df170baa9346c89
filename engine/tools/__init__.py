"""What each operation of the catalogue does, one file per family under the same name.

A handler gets the open database, the decoded arguments and the request they came with. It neither opens transactions nor
knows about sockets.
"""

from __future__ import annotations

from engine.tools import embedding, memory, search, statistics, transfer
from engine.tools.handler import Handler

HANDLERS: dict[str, Handler] = {
    **memory.HANDLERS,
    **search.HANDLERS,
    **statistics.HANDLERS,
    **transfer.HANDLERS,
    **embedding.HANDLERS,
}
"""Everything but ``hibernate``, which the process answers itself."""
