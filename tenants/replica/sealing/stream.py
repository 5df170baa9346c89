"""The sealed form of an object: AES-256-GCM in chunks, each of which is checked before it is handed on. Pure.

A header of 60 bytes: ``ENGS``, the version, the key's id (16 bytes, padded with zeros), 32 random bytes, 7 random bytes. Then
chunks of 64 KiB, each with 16 bytes more; the last may be shorter, and is empty only where there is nothing at all.

The construction is STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015): a chunk's nonce is the header's 7 bytes, its number and
whether it is the last, so none can be left out, moved, or added. It is under a key of the object's own, derived from the
tenant's with the header's 32 bytes: 7 bytes alone would repeat among the hundred million objects of a busy year, and two
objects under one nonce give both away. The header, and the name that the object has, are authenticated with each chunk.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tenants.replica.sealing.failures import Tampered
from tenants.replica.sealing.master import derive

MAGIC, VERSION = b"ENGS", 1

CHUNK_BYTES = 64 * 1024
"""Large enough that Python's part is small beside the cipher's, and little to hold back until it is checked."""

TAG_BYTES = 16
KEY_ID_BYTES = 16

_HEADER = struct.Struct(f">4sB{KEY_ID_BYTES}s32s7s")
HEADER_BYTES = _HEADER.size

_CHUNKS_MAX = 2**32
"""The number in the nonce has 32 bits: 256 TiB, of which no bucket takes one object."""


def seal(key: bytes, key_id: str, name: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the sealed form of ``pieces``, for the object called ``name``."""
    salt, prefix = os.urandom(32), os.urandom(7)
    header = _HEADER.pack(MAGIC, VERSION, key_id.encode("ascii"), salt, prefix)
    cipher = _cipher(key, salt)
    yield header
    for number, (chunk, is_last) in enumerate(_chunks(pieces, CHUNK_BYTES)):
        yield cipher.encrypt(_nonce(prefix, number, is_last=is_last), chunk, header + name)


def unseal(key_of: Callable[[str], bytes], name: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what was sealed, chunk by chunk; ``Tampered`` as soon as one is not what was sealed under this name.

    ``key_of`` is asked for the key with the id in the header. Before the last chunk was yielded, more may be missing.
    """
    header, rest = _split_header(pieces)
    magic, version, key_id, salt, prefix = _HEADER.unpack(header)
    if magic != MAGIC or version != VERSION:
        raise Tampered("not a sealed object, or of a version that is not known here")
    try:
        cipher = _cipher(key_of(key_id.rstrip(b"\0").decode("ascii")), salt)
    except UnicodeDecodeError as error:
        raise Tampered("the name of the key is damaged") from error
    for number, (chunk, is_last) in enumerate(_chunks(rest, CHUNK_BYTES + TAG_BYTES)):
        try:
            content = cipher.decrypt(_nonce(prefix, number, is_last=is_last), chunk, header + name)
        except InvalidTag as error:
            raise Tampered(f"chunk {number} is not what was sealed") from error
        if content:
            yield content


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(derive(key, b"engram/object/1", salt=salt))


def _nonce(prefix: bytes, number: int, *, is_last: bool) -> bytes:
    if number >= _CHUNKS_MAX:
        raise ValueError("too large to be sealed")
    return prefix + struct.pack(">I?", number, is_last)


def _chunks(pieces: Iterable[bytes], size: int) -> Iterator[tuple[bytes, bool]]:
    """Yield the same bytes in chunks of ``size``, and whether it is the last. There is one at least."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        while len(buffer) > size:
            yield bytes(buffer[:size]), False
            del buffer[:size]
    yield bytes(buffer), True


def _split_header(pieces: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    incoming = iter(pieces)
    buffer = b""
    while len(buffer) < HEADER_BYTES:
        piece = next(incoming, None)
        if piece is None:
            raise Tampered("shorter than any sealed object")
        buffer += piece

    def rest() -> Iterator[bytes]:
        yield buffer[HEADER_BYTES:]
        yield from incoming

    return buffer[:HEADER_BYTES], rest()
