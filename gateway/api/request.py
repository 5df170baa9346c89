"""Requests whose JSON bodies are decoded strictly, straight into the handler's Struct: one pass, errors that name the field."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

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
        return _decoder(field.annotation).decode(await self.body())
