"""What is known of a sealed object, sealed as well: digests and times say something about what they belong to. Pure.

Of the metadata there remain the key's id and one value, AES-256-GCM under a key for this purpose, with a random nonce.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tenants.replica.sealing.failures import Tampered
from tenants.replica.sealing.master import derive

KEY_ID = "engram-key"
"""In the metadata of a sealed object; a plain one has none."""

_SEALED = "engram-sealed"
_NONCE_BYTES = 12
_PURPOSE = b"engram/metadata/1"


def seal_metadata(key: bytes, key_id: str, name: bytes, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata for the sealed object called ``name``."""
    nonce = os.urandom(_NONCE_BYTES)
    sealed = _cipher(key).encrypt(nonce, msgspec.json.encode(dict(metadata)), _bound(key_id, name))
    return {KEY_ID: key_id, _SEALED: base64.b64encode(nonce + sealed).decode()}


def unseal_metadata(key_of: Callable[[str], bytes], name: bytes, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return what was sealed; ``Tampered`` for what was not sealed under this name."""
    try:
        key_id = metadata[KEY_ID]
        sealed = base64.b64decode(metadata[_SEALED], validate=True)
    except (KeyError, ValueError) as error:
        raise Tampered("what should be known of it is missing") from error
    if len(sealed) < _NONCE_BYTES:
        raise Tampered("what is known of it was cut short")
    cipher = _cipher(key_of(key_id))
    try:
        text = cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound(key_id, name))
    except InvalidTag as error:
        raise Tampered("what is known of it is not what was sealed") from error
    return msgspec.json.decode(text, type=dict[str, str])


def _cipher(key: bytes) -> AESGCM:
    return AESGCM(derive(key, _PURPOSE))


def _bound(key_id: str, name: bytes) -> bytes:
    return b"\0".join((_PURPOSE, key_id.encode(), name))
