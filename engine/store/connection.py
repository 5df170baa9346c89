"""Opens SQLite the way a tenant's file must always be opened.

Pages carry checksums (SQLite's ``cksumvfs``: eight reserved bytes at the end of each page), so that a flipped bit is an error
and not a wrong answer. sqlite-vec is loaded. A commit is on the disk before it is acknowledged: WAL with synchronous=FULL.
"""

from __future__ import annotations

import os
from pathlib import Path

import apsw
import apsw.sqlite_extra
import sqlite_vec

from engine.capture import pages
from engine.store import filter as filters
from engine.store import indexed_text

CHECKSUM_BYTES = pages.CHECKSUM_BYTES
CHECKSUM_VFS = "cksmvfs"

WAL_BYTES_KEPT = 8 * 1024 * 1024
"""What the log may still occupy on the disk after a checkpoint; a large import would otherwise leave it as large for good."""

BUSY_TIMEOUT_MS = 5000
"""Nobody else uses the file but who looks into it by hand: an operator may hold up a write for so long."""

SQLITE_VERSION_MIN = 3_051_003
"""3.7.0 to 3.51.2 can lose a commit when a second connection checkpoints while another writes."""


_preloaded: list[apsw.Connection] = []


def preload() -> None:
    """Load every extension once, so that later connections of this process and its forks need no file but their own."""
    if apsw.SQLITE_VERSION_NUMBER < SQLITE_VERSION_MIN:
        raise RuntimeError(f"SQLite {apsw.sqlite_lib_version()} can lose commits; at least 3.51.3 is needed")
    # Kept open for good: with its last connection the library would go, and a sandbox can't load it again.
    connection = apsw.Connection(":memory:")
    _preloaded.append(connection)
    if CHECKSUM_VFS not in apsw.vfs_names():
        apsw.sqlite_extra.load(connection, "cksumvfs")
    _load_vectors(connection)
    connection.execute("CREATE VIRTUAL TABLE warm USING fts5 (word); SELECT vec_version()")


def seed_randomness() -> None:
    """Have SQLite draw its random numbers anew in this process, from the system.

    It does so at the first file that it opens after a fork, and where it can't open ``/dev/urandom`` it takes the time of day
    instead.
    """
    apsw.Connection(os.devnull, flags=apsw.SQLITE_OPEN_READONLY).close()
    apsw.randomness(1)


def open_writer(path: Path) -> apsw.Connection:
    """Open, or create, the file for its one writer."""
    connection = apsw.Connection(str(path), vfs=CHECKSUM_VFS)
    # Asked of SQLite, not of the file: a creation that a power cut has torn is rolled back by this question.
    if connection.pragma("page_count") == 0:
        connection.reserve_bytes(reserve=CHECKSUM_BYTES)
    _configure(connection)
    if connection.pragma("journal_mode", "wal") != "wal":
        raise RuntimeError("the database is not in WAL mode")
    connection.pragma("synchronous", "full")
    connection.pragma("secure_delete", "on")
    connection.pragma("journal_size_limit", WAL_BYTES_KEPT)
    path.chmod(0o600)
    return connection


def open_reader(path: Path) -> apsw.Connection:
    """Open an existing file for a snapshot that must not move while it is read."""
    connection = apsw.Connection(str(path), vfs=CHECKSUM_VFS, flags=apsw.SQLITE_OPEN_READWRITE)
    _configure(connection)
    connection.pragma("query_only", True)
    return connection


def _configure(connection: apsw.Connection) -> None:
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    _load_vectors(connection)
    indexed_text.register(connection)
    filters.register(connection)
    connection.pragma("foreign_keys", True)
    connection.pragma("trusted_schema", False)
    connection.pragma("cell_size_check", True)
    # Only engine.store.checkpoint may checkpoint: neither a long log nor the end of a connection does.
    connection.pragma("wal_autocheckpoint", 0)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.pragma("temp_store", "memory")  # a sort that spills would need a folder that a sandbox does not grant
    connection.pragma("cache_size", -4096)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)


def _load_vectors(connection: apsw.Connection) -> None:
    connection.enable_load_extension(True)
    try:
        connection.load_extension(sqlite_vec.loadable_path())
    finally:
        connection.enable_load_extension(False)
