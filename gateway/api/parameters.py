"""What addresses hold, read strictly: ids in paths, and query parameters, which are errors by name when nobody knows them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

import msgspec
from litestar import Request

from engine.catalogue.memory import ID_MAX
from engine.protocol import ErrorCode, RemoteError
from gateway.api.errors import invalid

_ID_DIGITS_MAX = len(str(ID_MAX))

T = TypeVar("T", bound=msgspec.Struct)


def check_names(request: Request[Any, Any, Any], known: Collection[str], *, repeatable: Collection[str] = ()) -> None:
    """``invalid`` for a parameter that is not ``known``, or given more than once and not ``repeatable``."""
    for name in request.query_params:
        if name not in known:
            raise invalid(name[:64], "there is no such parameter")
        if name not in repeatable and len(request.query_params.getall(name)) > 1:
            raise invalid(name, "was given more than once")


def convert(given: dict[str, Any], kind: type[T]) -> T:
    """Return what an address gave, as texts or ``None``, in the types of ``kind``."""
    return msgspec.convert({name: value for name, value in given.items() if value is not None}, kind, strict=False)


def flag(name: str, text: str | None) -> bool:
    """Return a parameter that is ``true`` or ``false``, the latter when it is left out."""
    if text in (None, "false"):
        return False
    if text != "true":
        raise invalid(name, "must be true or false")
    return True


def json_object(name: str, text: str | None) -> dict[str, Any] | None:
    """Return a parameter that holds a JSON object."""
    if text is None:
        return None
    try:
        value: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise invalid(name, "must be a JSON object") from error
    return value


def parse_id(text: str) -> int:
    """Return the id in a path; ``not_found`` for what can't be one."""
    if text.isascii() and text.isdigit() and len(text) <= _ID_DIGITS_MAX and 0 < int(text) <= ID_MAX:
        return int(text)
    raise RemoteError(ErrorCode.NOT_FOUND, "there is no such memory")
