"""Requests whose JSON bodies are decoded strictly, straight into the handler's Struct: one pass, errors that name the field."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from engine.catalogue import TOOLS, Tool
from engine.catalogue.memory import UPDATE, MemoryChanges
from gateway.api.errors import Problem


@cache
def _decoder(annotation: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(annotation)


def check_json(request: Request[Any, Any, Any]) -> None:
    """``unsupported_media_type`` for a body that says it is something else than JSON."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in ("", "application/json"):
        raise Problem("unsupported_media_type", "Send application/json.")


class StrictRequest(Request[Any, Any, Any]):
    """Litestar converts bodies leniently, ``"5"`` to 5 and 5 to a time; this does not."""

    async def json(self) -> Any:
        check_json(self)
        handler = self.route_handler
        assert isinstance(handler, HTTPRouteHandler)
        field = handler.parsed_data_field
        assert field is not None
        body = await self.body()
        try:
            return _decoder(field.annotation).decode(body)
        except msgspec.ValidationError as error:
            return _convert(body, field.annotation, error)


def _convert(body: bytes, annotation: Any, refusal: msgspec.ValidationError) -> Any:
    """Read a body that may use the other names which a tool takes for its arguments; what is wrong is named to the item.

    ``refusal`` is what was wrong with it as it stands.
    """
    try:
        given = msgspec.json.decode(body)
    except msgspec.DecodeError:
        raise refusal from None
    if not isinstance(given, dict):
        raise refusal
    tool = _TOOLS.get(annotation)
    if tool is not None:
        given = tool.renamed(given)
    for name, hint in get_type_hints(annotation).items():
        if get_origin(hint) is list and isinstance(given.get(name), list):
            _check_items(name, given[name], get_args(hint)[0])
    return msgspec.convert(given, annotation)


def _check_items(name: str, items: list[Any], annotation: Any) -> None:
    """Find the item that is wrong: msgspec itself says ``name[...]``."""
    for number, item in enumerate(items):
        try:
            msgspec.convert(item, annotation)
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at `$")
            raise msgspec.ValidationError(f"{message} - at `$.{name}[{number}]{path.removesuffix('`')}`") from error


_TOOLS: dict[Any, Tool[Any, Any]] = {tool.arguments: tool for tool in TOOLS.values()} | {MemoryChanges: UPDATE}
