"""What derives from ENGRAM_MASTER_KEY here: a key to wrap tenants' keys with, one for the control plane, and a fingerprint."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
"""Of every key: AES-256."""


def derive(key: bytes, info: bytes, *, salt: bytes | None = None, length: int = KEY_BYTES) -> bytes:
    """Return what HKDF-SHA256 (RFC 5869) makes of a key for the purpose ``info``."""
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(key)


class Master:
    """One master key's derivations. The key itself is not kept."""

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_BYTES:
            raise ValueError(f"a master key has at least {KEY_BYTES} bytes")
        self.wrapping = derive(key, b"engram/tenant-keys/1")
        self.control = derive(key, b"engram/control/1")
        self.fingerprint = derive(key, b"engram/master-fingerprint/1", length=8).hex()
        """Tells master keys apart, and says nothing about them."""
