"""What an API key looks like, and how it is recognised without being stored.

``ek_live_``, 30 random characters of base 62 (178 bits), and the CRC-32 of all of that as 6 characters of base 62, most
significant first. A typing error is told from an unknown key without asking anything, and secret scanners can be sure.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib

PREFIX = "ek_live_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH = 30
_CHECKSUM_LENGTH = 6
LENGTH = len(PREFIX) + _RANDOM_LENGTH + _CHECKSUM_LENGTH
_FORM = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_RANDOM_LENGTH + _CHECKSUM_LENGTH}}}")


def generate() -> str:
    """Return a new key."""
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    return body + _checksum(body)


def is_well_formed(text: str) -> bool:
    """Whether ``text`` could be a key: right form, right checksum."""
    if _FORM.fullmatch(text) is None:
        return False
    return _checksum(text[:-_CHECKSUM_LENGTH]) == text[-_CHECKSUM_LENGTH:]


def digest(key: str, pepper: bytes) -> bytes:
    """Return what is stored of a key: its HMAC-SHA256. The key has 178 random bits and needs no slow hash."""
    return hmac.digest(pepper, key.encode("ascii"), hashlib.sha256)


def hint(key: str) -> str:
    """Return the few characters by which a person recognises a key in a list."""
    return f"{key[: len(PREFIX) + 4]}…"


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode("ascii"))
    digits = []
    for _ in range(_CHECKSUM_LENGTH):
        value, digit = divmod(value, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
