"""A rehearsal in the fork server: what every engine does at its start and for its first requests is done once before the forks.

What Python works out when code first runs (specialised bytecode, its table of methods, what libraries build late) is then there
and shared. Otherwise each engine would work it out again, and write it to pages of its own.

One engine runs in this process, on a new database in a temporary folder, with a client in the same loop. Nothing stays of it:
no thread, no descriptor, no file, and nothing that a tenant has stored. Where it fails, engines merely start cold.
"""

from __future__ import annotations

import asyncio
import signal
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import structlog

from engine import main
from engine.address import listen
from engine.capture.outbox import OUTBOX_FOLDER
from engine.catalogue.lifecycle import HIBERNATE, Hibernate
from engine.catalogue.recovery import FLUSH, Flush
from engine.client import Client
from engine.protocol import Embedding
from engine.protocol.messages import Passage
from engine.store.quarantine import Quarantine

_log = structlog.get_logger()

_ROUNDS = 16
"""CPython 3.11 specialises a function from its eighth call on, and an instruction a few rounds after that."""

_TIME_MAX_S = 20.0
"""It takes a fifth of a second; on a disk that hangs, the fork server goes on without."""

_TEXT = "The office cat sleeps on the printer."
_DIMENSIONS = 384
_VECTOR = struct.pack(f"<{_DIMENSIONS}f", 1.0, *[0.0] * (_DIMENSIONS - 1))
_EMBEDDINGS = [Embedding("rehearsal", [Passage(0, len(_TEXT), _VECTOR)])]

_CALLS: tuple[tuple[str, dict[str, Any], list[Embedding]], ...] = (
    ("memory_create", {"content": _TEXT, "tags": ["cat"], "metadata": {"floor": 2}}, _EMBEDDINGS),
    ("memory_get", {"id": 1}, []),
    ("memory_search", {"query": "where does the cat sleep"}, _EMBEDDINGS),
    ("memory_list", {}, []),
    ("memory_update", {"id": 1, "importance": 0.5}, []),
)
"""What agents ask for most."""


def rehearse() -> None:
    """Run one engine from its start to its end. For the process's only thread, before it handles any signal."""
    sys._clear_type_cache()  # which is full of what imports looked up; each engine would clear it away, a page at a time
    # A signal to end means this process, and the engine would take it for its own: it is dealt with afterwards.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    try:
        with (
            structlog.contextvars.bound_contextvars(tenant="rehearsal"),
            tempfile.TemporaryDirectory(prefix="engram-rehearsal-") as folder,
        ):
            _run(Path(folder))
    except (Exception, asyncio.CancelledError) as error:
        _log.warning("rehearsal_failed", error=type(error).__name__)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)


def _run(folder: Path) -> None:
    path = folder / "socket"
    (folder / OUTBOX_FOLDER).mkdir()
    shared = main.EnginesSettings(data_folder=folder, memory_max_mb=0, disk_reserve_bytes=0)
    visits: list[asyncio.Task[None]] = []

    def serving() -> None:
        engine = asyncio.current_task()
        assert engine is not None
        visits.append(asyncio.create_task(_visit(path, engine)))

    with asyncio.Runner() as runner, listen(path) as listening:
        main.run_database(runner, shared, folder, listening, Quarantine(folder), serving)
    for visit in visits:
        visit.result()


async def _visit(path: Path, engine: asyncio.Task[Any]) -> None:
    """Ask for what clients ask for, and then the ``engine`` to end."""
    try:
        async with asyncio.timeout(_TIME_MAX_S), await Client.connect(path) as client:
            for _ in range(_ROUNDS):
                for method, params, embeddings in _CALLS:
                    await client.call(method, params, embeddings=embeddings, result_type=dict)
                await client.call(FLUSH.name, Flush(), result_type=dict)
            await client.call(HIBERNATE.name, Hibernate(idle_s=0), result_type=dict)
    except BaseException:
        engine.cancel()
        raise
