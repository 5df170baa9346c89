"""What waits in a tenant's outbox to be carried away, looked at as a stranger's: which files are in order, which are refused.

A file counts when its name says which transactions it holds, it follows on the one before, it is a plain file of the tenant's
and no larger than any may be. ``verify`` reads it to the end: that it is LTX and holds what its name says. What is read and
verified is what may be acted on, not what is there a moment later.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine.ltx import FILE_BYTES_MIN, Decoder, Header, LtxError, Page, parse_file_name
from tenants.untrusted import Folder, Refused

OUTBOX = "outbox"

FILES_MAX = 10_000
"""Of one outbox, looked at together. An engine that writes without pause makes so many in hours without a store."""

NAMES_MAX = 100_000
"""In one outbox: of days without a store. What holds more is none that our engines fill."""

FILE_BYTES_MAX = 64 * 2**30
"""A snapshot is one file, and the largest plan's databases have 50 GB."""

DATABASE_BYTES_MAX = FILE_BYTES_MAX

FILE_OVERHEAD_BYTES = 64 * 1024
"""Opening a file and closing it costs as much as looking at so many bytes."""

_STEP_BYTES = 4 * 2**20
"""Of the database, between two steps of a verification: some 20 ms."""

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_DRAFT = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}(?:\.ltx)?\.new")
"""What is still being written has another name; there is nothing wrong with it."""


@dataclass(frozen=True, kw_only=True)
class OutboxFile:
    """A file that may be carried away if it turns out to be what it says."""

    name: str
    min_txid: int
    max_txid: int
    size: int
    version: tuple[int, int]
    """Of its inode: number, and time of the last change, which can't be set."""


@dataclass(kw_only=True)
class Listing:
    """One look at an outbox."""

    files: list[OutboxFile] = field(default_factory=list)
    """In the order of their transactions."""
    stale: list[OutboxFile] = field(default_factory=list)
    """Those before the transactions that were asked for."""
    refused: dict[str, str] = field(default_factory=dict)
    """Names and why. A name is a stranger's: any bytes, of any meaning."""
    has_more: bool = False
    """Whether there are others behind these."""


def list_files(folder: Folder, *, after_txid: int | None = None, files_max: int | None = None) -> Listing:
    """Return what is in the outbox of a tenant's ``folder``, the first ``files_max`` (``FILES_MAX``) by their names.

    ``Refused`` when that itself is none, or holds too much.

    ``after_txid``: the files must continue this transaction. Otherwise whichever is the first may be.
    """
    names = sorted(name for name in folder.names(OUTBOX, names_max=NAMES_MAX) if not _DRAFT.fullmatch(name))
    files_max = FILES_MAX if files_max is None else files_max
    listing = Listing(has_more=len(names) > files_max)
    found = []
    for name in names[:files_max]:
        try:
            found.append(_look_at(folder, name))
        except LtxError:
            listing.refused[name] = "name"
        except Refused as refused:
            if refused.reason != "missing":  # it was carried away meanwhile
                listing.refused[name] = refused.reason
    following = None if after_txid is None else after_txid + 1
    for file in sorted(found, key=lambda file: file.min_txid):
        if after_txid is not None and file.max_txid <= after_txid:
            listing.stale.append(file)
            continue
        if following is not None and file.min_txid != following:
            listing.refused[file.name] = "order"
            continue
        listing.files.append(file)
        following = file.max_txid + 1
    return listing


def _look_at(folder: Folder, name: str) -> OutboxFile:
    min_txid, max_txid = parse_file_name(name)
    if min_txid != max_txid:
        raise Refused("several")  # two writers must collide: what the next file is called is no choice
    status = folder.status(f"{OUTBOX}/{name}")
    folder.check(status, bytes_max=FILE_BYTES_MAX)
    if status.st_size < FILE_BYTES_MIN:
        raise Refused("malformed")
    version = (status.st_ino, status.st_ctime_ns)
    return OutboxFile(name=name, min_txid=min_txid, max_txid=max_txid, size=status.st_size, version=version)


def verify(path: Path, file: OutboxFile) -> Iterator[int]:
    """Read a file of the tenant's folder at ``path`` to its end, and ``Refused`` if it is not what it says.

    Yields in between how many bytes of database it has looked at, for others to have their turn.
    """
    decoder = Decoder(database_bytes_max=DATABASE_BYTES_MAX)
    looked_at = 0
    try:
        with Folder(path) as folder:
            for piece in folder.pieces(f"{OUTBOX}/{file.name}", bytes_max=FILE_BYTES_MAX):
                decoder.put(piece)
                looked_at += len(piece)
                while (event := decoder.take()) is not None:
                    if isinstance(event, Header) and (event.min_txid, event.max_txid) != (file.min_txid, file.max_txid):
                        raise Refused("another's name")
                    if isinstance(event, Page):
                        looked_at += len(event.content)
                    if looked_at >= _STEP_BYTES:
                        yield looked_at
                        looked_at = 0
            decoder.close()
    except LtxError as error:
        raise Refused("malformed") from error


def remove(path: Path, file: OutboxFile) -> None:
    """Remove a file from the outbox of the tenant's folder at ``path``; one that is not there is no error.

    Nothing on the way is followed, and the name is one of ours: what is removed lies in that outbox. ``Refused`` when it
    can't be.
    """
    try:
        tenant = os.open(path, _OPEN_FOLDER)
        try:
            outbox = os.open(OUTBOX, _OPEN_FOLDER, dir_fd=tenant)
        finally:
            os.close(tenant)
        try:
            os.unlink(file.name, dir_fd=outbox)
        finally:
            os.close(outbox)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Refused("can't be removed") from error
