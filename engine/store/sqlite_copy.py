"""A copy of the memories as a SQLite file that any SQLite reads: plain tables, no extension, no log, no checksums of ours.

It is built from a snapshot, row by row in small pieces, because ``VACUUM INTO`` would hold up the whole engine and take along
the word index, whose functions only we have, the trash and what an import has staged. The file has no name from the moment it
is open: whatever happens, nothing is left behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path

import apsw

from engine.free_space import FreeSpace
from engine.protocol import ErrorCode, RemoteError
from engine.store import versions
from engine.store.links import LinkRow
from engine.store.selection import Selection

_ROWS_AT_ONCE = 128
"""Copied without a pause: a millisecond or two."""

_CHUNK_BYTES = 256 * 1024

_MEMORY_COLUMNS = (
    "id, content, content_hash, type, tags, metadata, importance, workspace, scope_type, scope_id, tier, version, created_at,"
    " updated_at, accessed_at, access_count, expires_at, event_time, event_duration_seconds, changed_by, change_summary,"
    " embedding_model"
)
_LINK_COLUMNS = ", ".join(LinkRow._fields)
_VERSION_COLUMNS = ", ".join(("memory_id", *versions.COLUMNS))
_PASSAGE_COLUMNS = "memory_id, model_id, start_char, end_char, vector"

_SCHEMA = f"""
    -- Times are microseconds since 1970 in UTC; tags and metadata are JSON.
    CREATE TABLE memories ({_MEMORY_COLUMNS.replace("id,", "id INTEGER PRIMARY KEY,", 1)});
    CREATE TABLE memory_tags (tag TEXT, memory_id INTEGER);
    CREATE TABLE links ({_LINK_COLUMNS});
    CREATE TABLE memory_versions ({_VERSION_COLUMNS});
    -- A vector is float32, little endian, of unit length, for the characters from start_char to before end_char.
    CREATE TABLE passages ({_PASSAGE_COLUMNS});
    CREATE TABLE embedding_models (id INTEGER PRIMARY KEY, name TEXT, dimensions INTEGER);
    CREATE INDEX memory_tags_by_tag ON memory_tags (tag, memory_id);
    CREATE INDEX links_to ON links (to_id);
    CREATE INDEX memory_versions_by_memory ON memory_versions (memory_id, version);
    CREATE INDEX passages_by_memory ON passages (memory_id);
"""

_ONLY = {
    "passages": "t.model_id IN (SELECT id FROM embedding_models WHERE role = 'active')",
    "embedding_models": "t.role = 'active'",
}
"""Vectors of the model that is searched, not of one that is being filled in or taken away."""


def stream(source: apsw.Connection, folder: Path, space: FreeSpace, selection: Selection, now: int) -> Generator[bytes]:
    """Yield the file in pieces, and empty ones while it is being built; ``disk_full`` when there is no room for it."""
    try:
        with _nameless(folder) as (target, descriptor):
            for _ in _copied(source, target, selection, now):
                space.check()
                yield b""
            target.close()
            position = 0
            while piece := os.pread(descriptor, _CHUNK_BYTES, position):
                yield piece
                position += len(piece)
    except apsw.FullError as error:
        raise _disk_full() from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full() from error
        raise


@contextlib.contextmanager
def _nameless(folder: Path) -> Iterator[tuple[apsw.Connection, int]]:
    """Yield a connection to an empty file that has no name any more, and a descriptor to read it by."""
    descriptor, name = tempfile.mkstemp(prefix="export-", suffix=".sqlite", dir=folder)
    try:
        try:
            target = apsw.Connection(name, vfs="unix")  # not ours, which would reserve bytes of each page for checksums
            target.pragma("journal_mode", "off")  # nor may it look for a journal beside a file without a name
            target.pragma("locking_mode", "exclusive")
            target.pragma("synchronous", "off")
            target.pragma("temp_store", "memory")
            target.execute("BEGIN IMMEDIATE; COMMIT")  # now it has opened the file
        finally:
            Path(name).unlink()
        with contextlib.closing(target):
            yield target, descriptor
    finally:
        os.close(descriptor)


def _copied(source: apsw.Connection, target: apsw.Connection, selection: Selection, now: int) -> Iterator[None]:
    """Copy everything, pausing after each piece."""
    condition, parameters = selection.condition(now)
    seen = f"EXISTS (SELECT 1 FROM memories AS m WHERE m.id = t.{{}} AND {condition})"  # noqa: S608
    target.execute("BEGIN")
    target.execute(_SCHEMA)
    tables = (
        ("memories", _MEMORY_COLUMNS, ("id",)),
        ("memory_tags", "tag, memory_id", ("memory_id",)),
        ("links", _LINK_COLUMNS, ("from_id", "to_id")),
        ("memory_versions", _VERSION_COLUMNS, ("memory_id",)),
        ("passages", _PASSAGE_COLUMNS, ("memory_id",)),
        ("embedding_models", "id, name, dimensions", ()),
    )
    for table, columns, named in tables:
        where = " AND ".join([_ONLY.get(table, "true"), *(seen.format(name) for name in named)])
        rows = source.execute(f"SELECT {columns} FROM {table} AS t WHERE {where}", parameters * len(named))  # noqa: S608
        marks = ", ".join("?" * (columns.count(",") + 1))
        insert = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608
        while batch := list(islice(rows, _ROWS_AT_ONCE)):
            target.executemany(insert, batch)
            yield
    target.execute("COMMIT")


def _disk_full() -> RemoteError:
    return RemoteError(ErrorCode.DISK_FULL, "the disk is full; nothing was exported")
