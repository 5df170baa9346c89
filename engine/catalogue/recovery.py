"""Capturing on demand, and taking in what was restored: what replicator, host and gateway ask of an engine, and the files
that pass between them in a tenant's folder.

A restored database comes as two files that the fork server moves into the folder: ``restore.json``, then ``restore.db``. The
engine takes it in at its next start, before it serves, and leaves ``restored.json``. A preview's is ``preview.db``: a running
engine compares it with today's database and removes it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.catalogue.operation import Arguments, Operation

STAGED_DATABASE, STAGED_NOTE = "memory.db", "restore.json"
"""What the replicator puts into a folder beneath ``<data>/staging``."""

RESTORE_DATABASE, RESTORE_NOTE, PREVIEW_DATABASE = "restore.db", "restore.json", "preview.db"
"""What they are called in the tenant's folder. Where there is a ``restore.db``, there is a ``restore.json``."""

INTAKE_JOURNAL = "intake.json"
"""There while an engine takes one in, from when it believes it until it has said so in ``restored.json``."""

RESTORED_FILE = "restored.json"
"""What became of the last one: ``Restored``."""

RESTORE_NOTE_BYTES_MAX = RESTORED_BYTES_MAX = 4096

EXAMPLES_MAX = 20
"""Of each kind, in a preview."""

Text = Annotated[str, Meta(max_length=500)]


class RestoreNote(msgspec.Struct, kw_only=True):
    """What ``restore.json`` holds: how the restored file is to be taken in."""

    id: Annotated[str, Meta(max_length=64)]
    """Names this restore; ``restored.json`` repeats it."""
    kind: Literal["same", "earlier", "fork"]
    """``same``: the newest state there is, byte for byte, on an empty disk; history goes on with increments after ``txid``.
    ``earlier``: another state replaces today's; purges and the highest id are carried forward from the present file, and the
    next file of history holds the whole database. ``fork``: the first state of a new database, whose history begins."""
    txid: int
    """The last transaction in the object store that this one follows: ``same`` only (with fences counted), otherwise 0.
    For ``earlier`` the engine's own position counts; where it has none, this."""
    page_bytes: int
    pages: int
    checksum: int
    """Of the restored file's pages (``engine.ltx.checksums``). The engine computes it anew before it believes the file."""
    timestamp_ms: int = 0
    """Of the last file that was applied."""


class Restored(msgspec.Struct, kw_only=True):
    """What ``restored.json`` holds."""

    id: Annotated[str, Meta(max_length=64)]
    error: Text = ""
    """Why it was not taken in, in words of ours; the database of before is served then, where there was one."""
    memories: int = 0


class Flush(Arguments):
    """Arguments of ``flush``: capture what has been committed, now."""


class Flushed(msgspec.Struct):
    """Everything committed before the call lies in files up to this one."""

    txid: int
    timestamp_ms: int


class RestorePreview(Arguments):
    """Arguments of ``restore_preview``: compare ``preview.db`` with today's database, then remove it."""


class Difference(msgspec.Struct, kw_only=True):
    """One memory that a restore would bring, change or take."""

    id: int
    change: Literal["added", "changed", "deleted"]
    content: Text = ""
    """Its beginning: as it would be, or for one that would go, as it is."""


class PreviewReport(msgspec.Struct, kw_only=True):
    """What a restore would do to today's memories. What was purged since does not come back, and is not counted."""

    added: int = 0
    """Memories that are not there now and would be again."""
    changed: int = 0
    """Memories that would have another version."""
    deleted: int = 0
    """Memories made since, which would be gone."""
    examples: Annotated[list[Difference], Meta(max_length=3 * EXAMPLES_MAX)] = []


class ListPurges(Arguments):
    """Arguments of ``purges``: what must not come back in a fork."""


PURGES_PIECE_MAX = 5_000


class Purge(msgspec.Struct, array_like=True):
    """A purged memory."""

    memory_id: int
    content_hash: Annotated[str, Meta(max_length=128)]
    purged_at: int
    """Microseconds since 1970."""


class Purges(msgspec.Struct):
    """A chunk of the answer to ``purges``."""

    purges: Annotated[list[Purge], Meta(max_length=PURGES_PIECE_MAX)]


class Forget(Arguments):
    """Arguments of ``forget``: erase these memories, whatever they said before, and never give their ids to others."""

    purges: Annotated[list[Purge], Meta(max_length=PURGES_PIECE_MAX)]


class Forgotten(msgspec.Struct):
    """How many memories were erased."""

    erased: int


FLUSH = Operation(name="flush", arguments=Flush, result=Flushed, kind="read")
"""A read as far as turns go: it changes no memory. It may take a moment of disk."""
RESTORE_PREVIEW = Operation(name="restore_preview", arguments=RestorePreview, result=PreviewReport, kind="read")
PURGES = Operation(name="purges", arguments=ListPurges, result=Purges, kind="stream")
FORGET = Operation(name="forget", arguments=Forget, result=Forgotten, kind="write", frees=True)
