"""Bounds that a Struct can't state: sizes in bytes, depth, numbers that JSON has and SQLite or msgpack has not."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import msgspec

from engine.catalogue.memory import CONTENT_BYTES_MAX, METADATA_BYTES_MAX, METADATA_DEPTH_MAX, Scope
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.errors import invalid

_INTEGER_MAX = 2**63 - 1


def check_content(content: str, field: str = "content") -> None:
    """``too_large`` past 64 KiB of UTF-8, ``invalid`` for nothing but white space."""
    if len(content) * 4 > CONTENT_BYTES_MAX and len(content.encode()) > CONTENT_BYTES_MAX:
        raise RemoteError(
            ErrorCode.TOO_LARGE, f"{field} is over {CONTENT_BYTES_MAX} bytes", field=field, limit=CONTENT_BYTES_MAX
        )
    if not content.strip():
        raise invalid(field, "must not be empty")


def encode_metadata(metadata: dict[str, Any], field: str = "metadata") -> str:
    """Return the JSON text to store; ``invalid`` for what is too deep, too large or no finite 64-bit number."""
    _check_value(metadata, field, METADATA_DEPTH_MAX)
    encoded = msgspec.json.encode(metadata)
    if len(encoded) > METADATA_BYTES_MAX:
        raise invalid(field, f"must be at most {METADATA_BYTES_MAX} bytes of JSON")
    return encoded.decode()


def check_scope(scope: Scope, field: str = "scope") -> None:
    """``invalid`` unless exactly the scopes other than ``global`` have an id."""
    if scope.type == "global" and scope.id is not None:
        raise invalid(f"{field}.id", "the global scope has no id")
    if scope.type != "global" and scope.id is None:
        raise invalid(f"{field}.id", f"a {scope.type} scope needs an id")


@contextlib.contextmanager
def within(place: str) -> Iterator[None]:
    """Let errors of the block name their field as a part of ``place``, such as ``create[3]``."""
    try:
        yield
    except RemoteError as error:
        if "field" in error.details:
            field = error.details["field"]
            message = error.message.removeprefix(f"{field}: ")
            raise RemoteError(
                error.code, f"{place}.{field}: {message}", **error.details | {"field": f"{place}.{field}"}
            ) from error
        raise RemoteError(error.code, f"{place}: {error.message}", **error.details | {"field": place}) from error


def _check_value(value: Any, field: str, depth: int) -> None:
    if isinstance(value, dict | list):
        if depth == 0:
            raise invalid(field, f"must be at most {METADATA_DEPTH_MAX} levels deep")
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            _check_value(item, f"{field}.{name}"[:200], depth - 1)
    elif isinstance(value, bool) or value is None or isinstance(value, str):
        return
    elif isinstance(value, int):
        if not -_INTEGER_MAX - 1 <= value <= _INTEGER_MAX:
            raise invalid(field, "must fit 64 bits")
    elif not (isinstance(value, float) and math.isfinite(value)):
        raise invalid(field, "must be a JSON value")
