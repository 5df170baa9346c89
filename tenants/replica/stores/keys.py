"""What may be a key, and what metadata: such as every store takes, and no path can be made of that leads elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping

KEY_BYTES_MAX = 512
"""Half of what S3 takes, so that there is room for a prefix."""

METADATA_BYTES_MAX = 2048
"""S3's own limit for names and values together."""

_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}"
"""No part begins with a dot: ``..`` is none, and a folder's own files have names that no key has."""

_KEY = re.compile(rf"{_PART}(?:/{_PART})*")
_PREFIX = re.compile(rf"(?:{_PART}/)*(?:{_PART})?")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def is_key(key: str) -> bool:
    """Whether this may be a key."""
    return len(key) <= KEY_BYTES_MAX and _KEY.fullmatch(key) is not None


def check_key(key: str) -> None:
    """``ValueError`` for what is no key: whoever makes one up makes it of parts that were checked."""
    if not is_key(key):
        raise ValueError(f"no key of an object: {ascii(key)[:100]}")


def check_prefix(prefix: str) -> None:
    """``ValueError`` for what no key begins with."""
    if len(prefix) > KEY_BYTES_MAX or _PREFIX.fullmatch(prefix) is None:
        raise ValueError(f"no key begins with {ascii(prefix)[:100]}")


def check_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return a copy without the empty ones, which not every S3 keeps; ``ValueError`` for what would not come back as it was."""
    checked = {name: value for name, value in (metadata or {}).items() if value}
    for name, value in checked.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"no metadata of an object: {ascii(name)[:100]}")
    if sum(len(name) + len(value) for name, value in checked.items()) > METADATA_BYTES_MAX:
        raise ValueError("too much metadata")
    return checked
