"""Headers under which a request is to be carried out: only for a version, and only once."""

from __future__ import annotations

import re
from typing import Any

from litestar import Request

from engine.catalogue.memory import ID_MAX, Memory
from gateway.api.errors import invalid

_ETAG = re.compile(r'(?:W/)?"([0-9]{1,16})"|([0-9]{1,16})')
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def if_match(request: Request[Any, Any, Any]) -> int | None:
    """Return the version that ``If-Match`` names; ``None`` without the header, or when any will do (``*``)."""
    value = request.headers.get("if-match")
    if value is None or value.strip() == "*":
        return None
    found = _ETAG.fullmatch(value.strip())
    version = int(found[1] or found[2]) if found is not None else 0
    if not 0 < version <= ID_MAX:
        raise invalid("If-Match", 'must be one version in quotes, such as "3"')
    return version


def idempotency_key(request: Request[Any, Any, Any]) -> str:
    """Return ``Idempotency-Key``, empty without the header."""
    value = request.headers.get("idempotency-key")
    if value is None:
        return ""
    if _KEY.fullmatch(value) is None:
        raise invalid("Idempotency-Key", "must be 1 to 255 visible ASCII characters")
    return value


def etag(memory: Memory) -> dict[str, str]:
    """Return the header that names the version of a memory."""
    return {"ETag": f'"{memory.version}"'}
