"""What this node's disk holds of a tenant, as far as its engine says: read as a stranger's. Blocking."""

from __future__ import annotations

import stat
from pathlib import Path

from engine.captured import CAPTURED_FILE, FILE_BYTES, Position, decode
from engine.ltx import file_name
from engine.ltx.limits import TXID_MAX
from tenants.replica import outbox
from tenants.replica.outbox import FILE_BYTES_MAX, OUTBOX
from tenants.replica.ownership.admission import Local
from tenants.replica.tree import digest_of
from tenants.untrusted import Folder, Refused

_DATABASE = "memory.db"

_TRIES = 10
"""The engine writes its position four times a second; a reading takes microseconds."""

_NUMBERS_MAX = {
    "serial": 2**63 - 1,
    "txid": TXID_MAX,
    "timestamp_ms": 2**63 - 1,
    "page_bytes": 65_536,
    "pages": 2**32 - 1,
    "checksum": 2**64 - 1,
    "first_page": 2**64 - 1,
    "frames": 2**63 - 1,
}
"""Of a position: what is outside is nothing that our engine wrote."""


def read_local(path: Path) -> Local:
    """Look at the tenant's folder at ``path``; ``Refused`` when something in it is no such thing, or changes all the time."""
    try:
        with Folder(path) as folder:
            position = _position(folder)  # first: an engine may be at work, and files come after it
            return Local(
                position=position,
                has_database=_has_database(folder),
                outbox=_range(folder, position),
                batch=lambda txid: _batch(path, txid),
            )
    except Refused as refused:
        if refused.reason == "missing":
            return Local(position=None, has_database=False, outbox=None)
        raise


def _position(folder: Folder) -> Position | None:
    for tries_left in reversed(range(_TRIES)):
        try:
            position = decode(folder.read(CAPTURED_FILE, bytes_max=FILE_BYTES))
        except Refused as refused:
            if refused.reason == "missing":
                return None
            if refused.reason != "changing" or not tries_left:
                raise
        else:
            return position if position is not None and _is_possible(position) else None
    return None


def _is_possible(position: Position) -> bool:
    return all(0 <= getattr(position, name) <= largest for name, largest in _NUMBERS_MAX.items())


def _has_database(folder: Folder) -> bool:
    try:
        status = folder.status(_DATABASE)
    except Refused as refused:
        if refused.reason == "missing":
            return False
        raise
    return stat.S_ISREG(status.st_mode)


def _range(folder: Folder, position: Position | None) -> tuple[int, int] | None:
    """Return the first and last transaction that wait: files, and the draft of one that its engine has not named yet."""
    try:
        files = outbox.list_files(folder, files_max=outbox.NAMES_MAX).files  # where they end is what is asked
    except Refused as refused:
        if refused.reason == "missing":
            return None
        raise
    drafted = position.txid if position is not None and position.txid and _has_draft(folder, position.txid) else None
    if not files:
        return (drafted, drafted) if drafted is not None else None
    first, last = files[0].min_txid, files[-1].max_txid
    return first, last + (drafted == last + 1)


def _has_draft(folder: Folder, txid: int) -> bool:
    try:
        folder.status(_draft(txid))
    except Refused:
        return False
    return True


def _batch(path: Path, txid: int) -> str | None:
    """Return the digest of a file that waits, or else of its draft."""
    for name in (f"{OUTBOX}/{file_name(txid, txid)}", _draft(txid)):
        try:
            with Folder(path) as folder:
                return digest_of(folder.pieces(name, bytes_max=FILE_BYTES_MAX))
        except Refused:
            continue
    return None


def _draft(txid: int) -> str:
    return f"{OUTBOX}/{file_name(txid, txid)}.new"
