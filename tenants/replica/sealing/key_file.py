"""``keys.json`` beside a tenant's objects: its keys, wrapped with the master key. Pure.

Wrapping is AES-256-GCM under a key that derives from the master key. Bound to each wrapped key are the tenant, the key's id and
from which transaction on objects are sealed, so that none of these can be changed in the bucket.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tenants.replica.sealing.failures import KeysDestroyed, KeyUnavailable, Tampered
from tenants.replica.sealing.master import KEY_BYTES, Master

VERSION = 1

FILE_BYTES_MAX = 512 * 1024
KEYS_MAX = 1000
"""A key each month for eighty years; some 250 bytes each."""

_NONCE_BYTES = 12


class WrappedKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key."""

    id: str
    """8 random bytes in hex. Beside every object that was sealed with it."""
    wrapped: str
    """Nonce, ciphertext and tag in base64."""
    created_at: str
    """RFC 3339."""
    master: str
    """Fingerprint of the master key that it is wrapped with."""


class KeyFile(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the file."""

    version: int = VERSION
    tenant: str
    sealed_from: int
    """The first transaction that was sealed. Objects with none but earlier ones may be plain: from before encryption was on."""
    current: str
    """Id of the key that new objects are sealed with; empty when all were destroyed."""
    keys: Sequence[WrappedKey] = ()
    destroyed_at: str | None = None
    """When the tenant was erased, RFC 3339."""

    def encode(self) -> bytes:
        """Return the file's bytes."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)

    def key(self, key_id: str) -> WrappedKey:
        """Return a key; ``Tampered`` when there is none of that id, ``KeysDestroyed`` when there are none any more."""
        if self.destroyed_at is not None:
            raise KeysDestroyed(f"the keys of {self.tenant} were destroyed at {self.destroyed_at}")
        for key in self.keys:
            if key.id == key_id:
                return key
        raise Tampered(f"sealed with a key that {self.tenant} does not have")


def decode(content: bytes, tenant: str) -> KeyFile:
    """Return what a file says; ``Tampered`` when it is none, or another tenant's."""
    try:
        file = msgspec.json.decode(content, type=KeyFile)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Tampered(f"keys.json of {tenant} can't be read") from error
    if file.tenant != tenant or file.version != VERSION:
        raise Tampered(f"keys.json of {tenant} is another's, or of a version that is not known here")
    return file


def new_key(master: Master, tenant: str, sealed_from: int, *, created_at: str) -> WrappedKey:
    """Return a new key, wrapped."""
    key_id = os.urandom(8).hex()
    return _wrap(master, tenant, sealed_from, key_id, os.urandom(KEY_BYTES), created_at)


def unwrap(master: Master, file: KeyFile, key: WrappedKey) -> bytes:
    """Return a key; ``KeyUnavailable`` when it was wrapped with another master key, ``Tampered`` when it was changed."""
    if key.master != master.fingerprint:
        raise KeyUnavailable(
            f"the keys of {file.tenant} are wrapped with the master key of fingerprint {ascii(key.master)[:20]}, and "
            f"ENGRAM_MASTER_KEY has {master.fingerprint}: set ENGRAM_MASTER_KEY to that one, or wrap the keys anew"
        )
    try:
        wrapped = base64.b64decode(key.wrapped, validate=True)
        bound = _bound(file.tenant, file.sealed_from, key.id)
        return AESGCM(master.wrapping).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], bound)
    except (InvalidTag, ValueError) as error:
        raise Tampered(f"a key of {file.tenant} is not what was wrapped") from error


def rewrapped(old: Master, new: Master, file: KeyFile) -> KeyFile:
    """Return the file with every key wrapped with ``new``. Those that are already stay."""
    keys = []
    for key in file.keys:
        if key.master != new.fingerprint:
            plain = unwrap(old, file, key)
            key = _wrap(new, file.tenant, file.sealed_from, key.id, plain, key.created_at)  # noqa: PLW2901
        keys.append(key)
    return msgspec.structs.replace(file, keys=keys)


def _wrap(master: Master, tenant: str, sealed_from: int, key_id: str, key: bytes, created_at: str) -> WrappedKey:
    nonce = os.urandom(_NONCE_BYTES)
    wrapped = nonce + AESGCM(master.wrapping).encrypt(nonce, key, _bound(tenant, sealed_from, key_id))
    return WrappedKey(id=key_id, wrapped=base64.b64encode(wrapped).decode(), created_at=created_at, master=master.fingerprint)


def _bound(tenant: str, sealed_from: int, key_id: str) -> bytes:
    return f"engram/tenant-key/1\0{tenant}\0{key_id}\0{sealed_from}".encode()
