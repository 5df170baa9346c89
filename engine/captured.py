"""How far an engine has carried its log into its outbox: the file ``captured`` in a tenant's folder.

Two slots of 512 bytes, written in turn in place, so that a torn write leaves the other. A slot is the CRC-32 of the rest, the
length of the text and the text, JSON; the slot whose text is whole and has the higher ``serial`` counts. The engine writes it
and the replicator reads it (as a stranger's). This module does no I/O.
"""

from __future__ import annotations

import struct
import zlib

import msgspec

CAPTURED_FILE = "captured"

SLOT_BYTES = 512
"""A sector: what a disk writes whole or not at all."""

FILE_BYTES = 2 * SLOT_BYTES

_PREFIX = struct.Struct(">II")


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """What has been captured."""

    serial: int
    """One more with each slot that is written."""
    txid: int
    """Of the last file that was, or is about to be, put into the outbox; 0 for none."""
    timestamp_ms: int = 0
    """That file's. The next one's is later, whatever the clock says."""
    page_bytes: int = 0
    pages: int = 0
    """Size of the database after that file, in pages."""
    checksum: int = 0
    """Of the database after that file (``engine.ltx.checksums``), over pages as they lie in the file after a checkpoint."""
    first_page: int = 0
    """CRC-64 of the database's first page then: a file that was exchanged may have another."""
    file_time_ns: int = 0
    """When the file was last changed, as the system says, after an end in order; 0 where nobody looked."""
    salts: tuple[int, int] = (0, 0)
    """Of the log that was captured."""
    frames: int = 0
    """How many of its frames. None: that log has been emptied, and whichever comes next is read from its beginning."""
    log_checksum: tuple[int, int] = (0, 0)
    """The log's own, after the last of these frames: says that they are the same."""
    whole_next: bool = False
    """Whether the next file must hold the whole database: it does not continue the one before."""
    rebasing: bool = False
    """Whether the outbox still has to be emptied, because what it holds is of another history."""


def encode_slot(position: Position) -> bytes:
    """Return the slot's bytes, padded with zeros."""
    text = msgspec.json.encode(position)
    if len(text) > SLOT_BYTES - _PREFIX.size:
        raise ValueError("a position is too long for its slot")
    body = struct.pack(">I", len(text)) + text
    return (struct.pack(">I", zlib.crc32(body)) + body).ljust(SLOT_BYTES, b"\0")


def slot_offset(serial: int) -> int:
    """Return where in the file the slot with this serial number lies."""
    return serial % 2 * SLOT_BYTES


def decode(data: bytes) -> Position | None:
    """Return the newest whole position in the file's bytes; ``None`` when there is none, or nonsense."""
    slots = [_decode_slot(data[start : start + SLOT_BYTES]) for start in (0, SLOT_BYTES)]
    return max((slot for slot in slots if slot is not None), key=lambda slot: slot.serial, default=None)


def _decode_slot(slot: bytes) -> Position | None:
    if len(slot) < SLOT_BYTES:
        return None
    checksum, length = _PREFIX.unpack_from(slot)
    body = slot[4 : _PREFIX.size + length]
    if length > SLOT_BYTES - _PREFIX.size or zlib.crc32(body) != checksum:
        return None
    try:
        return msgspec.json.decode(body[4:], type=Position)
    except (ValueError, RecursionError):
        return None
